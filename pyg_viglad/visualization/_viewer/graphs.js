// Graphs as the page gets them: a grid of patches, neighbours grouped by centre, nearest first.

function unpack(graph, width, height) {
  const nodes = graph.rows * graph.columns
  const first = new Uint32Array(nodes + 1)
  for (let node = 0; node < nodes; node++) first[node + 1] = first[node] + graph.degrees[node]
  return {...graph, nodes, first, width: width / graph.columns, height: height / graph.rows}
}

// The left and upper edges of a patch belong to it; at the border of the image, all do.
function nodeAt(graph, x, y) {
  const column = Math.min(Math.max(Math.floor(x / graph.width), 0), graph.columns - 1)
  const row = Math.min(Math.max(Math.floor(y / graph.height), 0), graph.rows - 1)
  return row * graph.columns + column
}

function place(graph, node) {
  const row = Math.floor(node / graph.columns), column = node % graph.columns
  return {row, column, x: (column + 0.5) * graph.width, y: (row + 0.5) * graph.height}
}

// Neighbours of a node by rank, without the node itself.
function neighborsOf(graph, node) {
  const found = []
  for (let edge = graph.first[node]; edge < graph.first[node + 1]; edge++) {
    const other = graph.sources[edge]
    if (other === node) continue
    const distance = graph.distances === null ? NaN : graph.distances[edge] * graph.unit
    found.push({node: other, rank: found.length + 1, distance})
  }
  return found
}

// The centres that list a node among their neighbours, and the rank they give it.
function pointingAt(graph, node) {
  if (!graph.pointing) {
    graph.pointing = Array.from({length: graph.nodes}, () => [])
    for (let centre = 0; centre < graph.nodes; centre++) {
      for (const {node: other, rank, distance} of neighborsOf(graph, centre)) {
        graph.pointing[other].push({node: centre, rank, distance})
      }
    }
  }
  return graph.pointing[node]
}

// What became of the neighbours at a position from one graph to another. Both are compared by the
// patches of the coarser grid; where the grids are equal, these are the nodes themselves.
function compare(before, after, x, y) {
  const grid = before.nodes <= after.nodes ? before : after
  const own = nodeAt(grid, x, y)
  const cellsOf = (graph) => neighborsOf(graph, nodeAt(graph, x, y)).map(({node}) => {
    const centre = place(graph, node)
    return nodeAt(grid, centre.x, centre.y)
  })
  const [old, now] = [cellsOf(before), cellsOf(after)]
  const [oldCells, nowCells] = [new Set(old), new Set(now)]
  oldCells.delete(own)
  nowCells.delete(own)
  const lost = [...oldCells].filter((cell) => !nowCells.has(cell))
  return {
    grid,
    equal: before.rows === after.rows && before.columns === after.columns,
    kept: [...oldCells].filter((cell) => nowCells.has(cell)).length,
    lost: lost.length,
    gained: [...nowCells].filter((cell) => !oldCells.has(cell)).length,
    lostCells: lost,
    // Of every neighbour in the graph after, in the order of rank.
    status: now.map((cell) => (cell === own ? "inside" : oldCells.has(cell) ? "kept" : "new")),
    inside: old.concat(now).filter((cell) => cell === own).length,
  }
}
