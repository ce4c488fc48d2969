// Texts and tables of the page. Values are inserted as text, never as HTML.

const HINTS = {
  "#": "Rank, 1 the nearest",
  "row, col.": "Place of the neighbour's patch in the grid",
  distance: "Between the features by which neighbours were chosen, L2-normalised: 0 to 2",
  "px away": "Between the patches' centres, in pixels of the image",
  "comb.": "Combined score of the neighbour's patch",
  change: "Against the input graph at this position",
  "patch score": "The largest value of the map within the patch",
  "on grid": "Whose patches are compared",
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag)
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
  made.append(...children)
  return made
}

function table(heads, rows, attributes = {}) {
  const cells = heads.map((head) => element("th", {title: HINTS[head] ?? ""}, head))
  return element("table", attributes, element("thead", {}, element("tr", {}, ...cells)), element("tbody", {}, ...rows))
}

function titleOf(graph) {
  return `${graph.rows} × ${graph.columns} patches, ${graph.label}`
}

// The table under a graph, one row per neighbour, and a sentence about the patch itself.
function describeGraph(view, payload, choose) {
  const {graph, node, centre, neighbors, pointing} = view
  const own = graph.degrees[node] > neighbors.length ? ", itself not counted" : ""
  const intro = element("p", {},
    element("b", {}, `Patch ${where(centre)}`), ` (node ${node}, ${number(graph.width, 1)} × ${number(graph.height, 1)} px). `,
    `${neighbors.length} neighbours${own}; in the lists of ${pointing.length} other patches.`)
  const combined = payload.scores[graph.scores].combined_score
  const rows = neighbors.map((neighbor) => {
    const badge = element("span", {class: "rank", style: `background:${neighbor.color};color:${inkOn(neighbor.color)}`}, String(neighbor.rank))
    const values = [badge, `${neighbor.row + 1}, ${neighbor.column + 1}`, number(neighbor.distance, 3), number(neighbor.pixels, 0)]
    if (combined) values.push(number(combined[neighbor.node], 2))
    if (view.change) values.push(neighbor.status)
    const row = element("tr", {"data-node": neighbor.node, tabindex: 0, title: "Go to this patch"}, ...values.map((value) => element("td", {}, value)))
    row.addEventListener("click", () => choose(neighbor.x, neighbor.y))
    row.addEventListener("keydown", (event) => event.key === "Enter" && choose(neighbor.x, neighbor.y))
    return row
  })
  const heads = ["#", "row, col.", "distance", "px away"]
  if (combined) heads.push("comb.")
  if (view.change) heads.push("change")
  return [intro, table(heads, rows, {class: "neighbors"})]
}

// Scores of the patch in each graph, each the largest value of its map within the patch.
function describeScores(views, payload) {
  const keys = Object.keys(payload.scales).filter((key) => views.some(({graph}) => payload.scores[graph.scores][key]))
  if (!keys.length) return [element("p", {}, "These graphs were recorded without scores.")]
  const rows = keys.map((key) => {
    const {name, mark, unit} = payload.scales[key]
    const values = views.map(({graph, node}) => payload.scores[graph.scores][key]?.[node] ?? NaN)
    return element("tr", {"data-score": key}, element("td", {}, name + unit),
      ...values.map((value) => element("td", value > mark ? {class: "above"} : {}, number(value, 2))))
  })
  const above = keys.filter((key, index) => rows[index].querySelector(".above"))
  const marks = new Set(above.map((key) => `${payload.scales[key].mark}${payload.scales[key].unit}`))
  const note = element("p", {class: "note"}, `▲ above the mark of its map: ${[...marks].join(", ")}`)
  return [table(["patch score", "input", "encoder", "decoder"], rows, {class: "scores"}), ...(above.length ? [note] : [])]
}

function describeChanges([input, encoder, decoder], x, y) {
  const pairs = [["input → encoder", input, encoder], ["encoder → decoder", encoder, decoder], ["input → decoder", input, decoder]]
  const notes = new Set()
  const rows = pairs.map(([name, before, after]) => {
    const change = compare(before.graph, after.graph, x, y)
    if (!change.equal) notes.add("On different grids, neighbours are compared on the coarser one: all nodes within a patch vote for its neighbours, and edges within it do not count.")
    const on = `${change.grid.rows} × ${change.grid.columns}`
    return element("tr", {"data-pair": name}, ...[name, change.kept.length, change.lost.length, change.gained.length, on].map((value) => element("td", {}, String(value))))
  })
  return [table(["neighbours", "kept", "lost", "new", "on grid"], rows, {class: "changes"}), element("p", {class: "note"}, [...notes].join(" "))]
}

// The colour scale of the map that is shown, with the mark that normal images hardly exceed.
function describeScale(scale, palette) {
  if (!scale) return []
  const {limits: [low, high], mark, markText, title} = scale
  const at = (value) => `${(100 * (value - low)) / (high - low)}%`
  const stops = palette.filter((_, index) => index % 15 === 0).join(",")
  const bar = element("div", {class: "bar"}, element("div", {style: `background:linear-gradient(to right,${stops})`}))
  const ticks = element("div", {class: "ticks"})
  for (const value of [low, (low + high) / 2, high]) {
    const text = Number(value.toPrecision(3)) + (value === high ? " and more" : value === low ? " and less" : "")
    const edge = value === low ? "first" : value === high ? "last" : ""
    ticks.append(element("span", {class: edge, style: `left:${at(value)}`}, text.replace("-", "−")))
  }
  if (mark > low && mark < high) bar.append(element("i", {style: `left:${at(mark)}`}))
  return [element("p", {}, title), bar, ticks, element("p", {class: "mark"}, markText)]
}
