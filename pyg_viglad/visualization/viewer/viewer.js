// The page's one callback, for all events of the figures; the first one comes when the page is loaded.

function makeViewer({payload, plots, sources, heats, outlines}) {
  const page = document.getElementById("graph-viewer")
  const find = (selector) => page.querySelector(selector)
  const graphs = payload.graphs.map((graph) => unpack(graph, payload.width, payload.height))
  const parts = Object.fromEntries(["input", "encoder", "decoder"].map((part) => [part, graphs.filter((graph) => graph.part === part)]))
  const state = {x: payload.start.x, y: payload.start.y, panel: "input", block: {...payload.start.block}}
  const {x_range: xs, y_range: ys} = plots.image
  const shown = (name) => find(`input[name=${name}]`)?.checked ?? false
  const graphOf = (panel) => parts[panel][state.block[panel]]
  let views = {}, waiting = false

  function update() {
    const names = Object.keys(parts)
    const input = graphOf("input")
    const seen = names.map((part) => look(graphOf(part), input, state.x, state.y, payload))
    views = Object.fromEntries(names.map((part, index) => [part, seen[index]]))
    const patch = (part) => (part === "image" ? views.input : views[part])
    for (const panel of Object.keys(plots)) draw(sources[panel], patch(panel), {pointing: shown("pointing"), lost: shown("lost")})
    for (const part of names) {
      find(`#${part}-grid`).textContent = titleOf(views[part].graph)
      find(`#${part}-details`).replaceChildren(...describeGraph(views[part], payload, (x, y) => choose(x, y, part)))
    }
    find("#position").textContent = `x ${number(state.x, 1)}, y ${number(state.y, 1)} px`
    find("#scores").replaceChildren(...describeScores(seen, payload))
    find("#changes").replaceChildren(...describeChanges(seen, state.x, state.y))
    labels()
  }

  function labels() {
    for (const part of Object.keys(views)) label(plots[part], sources[part].labels, views[part])
  }

  function later() {  // once for all the changes of a zoom
    if (waiting) return
    waiting = true
    requestAnimationFrame(() => { waiting = false; labels() })
  }

  function overlay() {
    const name = find("input[name=overlay]:checked")?.value ?? "none"
    for (const [panel, renderers] of Object.entries(heats)) {
      for (const [key, renderer] of Object.entries(renderers)) {
        renderer.visible = key === name && (panel === "image" || shown("everywhere"))
      }
    }
    find("#scale").replaceChildren(...describeScale(payload.scales[name], payload.palette))
    for (const renderer of outlines) renderer.visible = shown("truth")
  }

  function choose(x, y, panel) {
    if (!(x >= 0 && x <= payload.width && y >= 0 && y <= payload.height)) return
    Object.assign(state, {x, y, panel: panel === "image" ? "input" : panel})
    update()
  }

  function zoom(factor) {
    // Factor 0: the whole image. Otherwise around the selected patch.
    const across = factor && Math.min(payload.width, (xs.end - xs.start) / factor)
    const part = across ? Math.max(across / payload.width, 8 / Math.min(payload.width, payload.height)) : 1
    if (part >= 1) {
      xs.setv({start: 0, end: payload.width})
      ys.setv({start: payload.height, end: 0})
      return
    }
    const from = (centre, whole) => Math.min(Math.max(centre - (part * whole) / 2, 0), whole * (1 - part))
    const [left, upper] = [from(state.x, payload.width), from(state.y, payload.height)]
    xs.setv({start: left, end: left + part * payload.width})
    ys.setv({start: upper + part * payload.height, end: upper})
  }

  function move(right, down) {
    const graph = graphOf(state.panel)
    const {row, column} = place(graph, nodeAt(graph, state.x, state.y))
    const to = Math.min(Math.max(row + down, 0), graph.rows - 1) * graph.columns + Math.min(Math.max(column + right, 0), graph.columns - 1)
    const {x, y} = place(graph, to)
    choose(x, y, state.panel)
  }

  function onKey(event) {
    const steps = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}
    const busy = event.target instanceof Element && event.target.matches("input[type=range], input[type=radio]")
    if (busy || event.ctrlKey || event.metaKey || event.altKey || !(event.key in steps)) return
    event.preventDefault()
    move(...steps[event.key])
  }

  function hint({x, y, sx, sy}, panel) {
    const box = find("#hint")
    const plot = find(`[data-panel=${panel}]`).getBoundingClientRect()
    box.textContent = hintOf(views[panel] ?? views.input, x, y, payload)
    box.hidden = !(x >= 0 && x <= payload.width && y >= 0 && y <= payload.height)
    const right = plot.x + sx + 16, lower = plot.y + sy + 16
    box.style.left = `${Math.max(right + box.offsetWidth > innerWidth ? right - box.offsetWidth - 32 : right, 0)}px`
    box.style.top = `${Math.max(lower + box.offsetHeight > innerHeight ? lower - box.offsetHeight - 32 : lower, 0)}px`
  }

  function onEvent(event) {
    const panel = Object.keys(plots).find((name) => plots[name] === event.origin)
    if (event.event_name === "tap") {
      if (shown("follow")) find("input[name=follow]").checked = false
      choose(event.x, event.y, panel)
    } else if (event.event_name === "mousemove") {
      if (shown("follow")) choose(event.x, event.y, panel)
      hint(event, panel)
    } else if (event.event_name === "mouseleave") find("#hint").hidden = true
    else if (event.event_name === "doubletap") zoom(0)
    else later()
  }

  function listen() {
    document.addEventListener("keydown", onKey)
    for (const part of ["encoder", "decoder"]) {
      const slider = find(`#${part}-block`)
      slider.max = parts[part].length - 1
      slider.value = state.block[part]
      slider.hidden = parts[part].length < 2
      slider.addEventListener("input", () => { state.block[part] = Number(slider.value); update() })
    }
    for (const input of page.querySelectorAll("input[type=radio], input[type=checkbox]")) {
      input.addEventListener("change", () => { overlay(); update() })
    }
    const buttons = {"#closer": () => zoom(2), "#farther": () => zoom(0.5), "#whole": () => zoom(0), "#start": () => choose(payload.start.x, payload.start.y, "input")}
    for (const [selector, act] of Object.entries(buttons)) find(selector).addEventListener("click", act)
    new ResizeObserver(() => {  // in a notebook, the frame is as high as the page
      try { if (window.frameElement) window.frameElement.style.height = `${page.scrollHeight + 4}px` } catch { /* another origin */ }
    }).observe(page)
  }

  listen()
  overlay()
  update()
  page.dataset.ready = "true"
  return {state, onEvent, heats, outlines}
}

const plain = (value) => (value instanceof Map ? Object.fromEntries([...value].map(([key, item]) => [key, plain(item)])) : Array.isArray(value) ? value.map(plain) : value)
if (cb_data?.event_name === "document_ready") {  // of a document, cb_obj is the document
  window.graphViewer = makeViewer(plain({payload, plots, sources, heats, outlines}))
} else {
  window.graphViewer?.onEvent(cb_obj)  // figures are laid out before the document is ready
}
