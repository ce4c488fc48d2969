// What the figures show of the selected patch.

const DASHES = {kept: "solid", new: "6 3"}

function number(value, digits) {
  if (!Number.isFinite(value)) return "–"
  const text = value.toFixed(digits)
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−")
}

function where({row, column}) {
  return `row ${row + 1}, column ${column + 1}`
}

function boxOf(graph, node) {
  return {...place(graph, node), width: graph.width, height: graph.height, node}
}

// What a graph's panel draws and its table lists at a position.
function look(graph, input, x, y, payload) {
  const node = nodeAt(graph, x, y)
  const centre = boxOf(graph, node)
  const change = graph === input ? null : compare(input, graph, x, y)
  const neighbors = neighborsOf(graph, node).map((neighbor) => {
    const box = boxOf(graph, neighbor.node)
    const status = change === null ? "" : change.status(neighbor.node)
    return {
      ...box, ...neighbor, status, x0: centre.x, y0: centre.y,
      pixels: Math.hypot(box.x - centre.x, box.y - centre.y),
      color: payload.ranks[neighbor.rank - 1], dash: DASHES[status] ?? "solid",
    }
  })
  const pointing = pointingAt(graph, node).map((other) => ({...other, ...boxOf(graph, other.node), x0: centre.x, y0: centre.y}))
  const lost = (change?.lost ?? []).map((cell) => boxOf(change.grid, cell))
  return {graph, node, centre, neighbors, pointing, lost, change}
}

// The text beside the pointer, about the patch under it.
function hintOf(view, x, y, {scores, scales}) {
  const {graph} = view
  const node = nodeAt(graph, x, y)
  const lines = [node === view.node ? `Selected patch, ${where(view.centre)}` : `Patch ${where(place(graph, node))}`]
  const neighbor = view.neighbors.find((other) => other.node === node)
  const pointing = view.pointing.find((other) => other.node === node)
  if (neighbor) lines.push(`Neighbour ${neighbor.rank} of the selected patch${neighbor.status && `, ${neighbor.status}`}`)
  if (pointing) lines.push(`Lists the selected patch as neighbour ${pointing.rank}`)
  if (view.change?.lost.includes(nodeAt(view.change.grid, x, y))) lines.push("Neighbour in the input graph, lost in this one")
  if (neighbor ?? pointing) lines.push(`Distance ${number((neighbor ?? pointing).distance, 3)}`)
  const found = Object.entries(scores[graph.scores])
  lines.push(...found.map(([key, values]) => `${scales[key].name}${scales[key].unit} ${number(values[node], 2)}`))
  return lines.join("\n")
}

function fill(source, rows) {
  const names = Object.keys(source.data)
  source.data = Object.fromEntries(names.map((name) => [name, rows.map((row) => row[name])]))
}

function draw(sources, view, shown) {
  fill(sources.node, [view.centre])
  if (!sources.neighbors) return
  fill(sources.neighbors, [...view.neighbors].reverse())  // the nearest lie on top
  fill(sources.pointing, shown.pointing ? view.pointing : [])
  fill(sources.lost, shown.lost ? view.lost : [])
}

// Ranks beside their patches, the nearest first, where they do not cover each other.
function label(plot, source, view) {
  const {x_range: xs, y_range: ys, inner_width: across, inner_height: down} = plot
  const [perX, perY] = [(xs.end - xs.start) / across, (ys.start - ys.end) / down]
  if (!(perX > 0 && perY > 0)) return
  const [half, reach] = [8.5, Math.min(view.graph.width / perX, view.graph.height / perY) / 2]
  const taken = [{x: view.centre.x, y: view.centre.y, half: Math.max(reach - half + 3, 2)}]
  const rows = []
  for (const {x, y, rank, color} of view.neighbors) {
    const steps = reach > 9 ? [0] : [reach + half - 1]
    const offsets = steps.flatMap((d) => (d ? [[d, -d], [-d, -d], [d, d], [-d, d], [0, -d - 4], [d + 4, 0], [0, d + 4], [-d - 4, 0]] : [[0, 0]]))
    for (const [dx, dy] of offsets) {
      const spot = {x: x + dx * perX, y: y + dy * perY, half}
      const free = taken.every((other) =>
        Math.max(Math.abs(other.x - spot.x) / perX, Math.abs(other.y - spot.y) / perY) >= other.half + half - 1)
      const inside = spot.x - half * perX >= Math.min(xs.start, xs.end) && spot.x + half * perX <= xs.end
        && spot.y - half * perY >= ys.end && spot.y + half * perY <= ys.start
      if (!free || !inside) continue
      taken.push(spot)
      rows.push({...spot, text: String(rank), color, ink: inkOn(color)})
      break
    }
  }
  fill(source, rows)
}

function inkOn(color) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16))
  return 0.299 * red + 0.587 * green + 0.114 * blue > 127 ? "black" : "white"
}
