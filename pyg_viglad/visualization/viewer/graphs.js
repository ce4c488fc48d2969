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

// The patch of a coarser grid that holds the centre of a node, in whole numbers: nothing is rounded.
function patchOf(graph, node, grid) {
  const {row, column} = place(graph, node)
  return Math.floor(((2 * row + 1) * grid.rows) / (2 * graph.rows)) * grid.columns
    + Math.floor(((2 * column + 1) * grid.columns) / (2 * graph.columns))
}

// Neighbours of a patch of a coarser grid: the patches with most votes, one vote for each edge of the
// nodes within; ties go to the nearest rank, then to the smaller number.
function votedNeighbors(graph, grid, patch, most) {
  const votes = new Map()
  for (let node = 0; node < graph.nodes; node++) {
    if (patchOf(graph, node, grid) !== patch) continue
    for (const {node: other, rank} of neighborsOf(graph, node)) {
      const cell = patchOf(graph, other, grid)
      if (cell === patch) continue
      const vote = votes.get(cell) ?? {cell, count: 0, rank}
      votes.set(cell, {cell, count: vote.count + 1, rank: Math.min(vote.rank, rank)})
    }
  }
  const order = [...votes.values()].sort((a, b) => b.count - a.count || a.rank - b.rank || a.cell - b.cell)
  return new Set(order.slice(0, most).map(({cell}) => cell))
}

// Neighbours kept, lost and gained at a position from one graph to another, on the coarser grid, by the
// rule of neighbor_changes in Python.
function compare(before, after, x, y) {
  const equal = before.rows === after.rows && before.columns === after.columns
  const grid = before.rows >= after.rows && before.columns >= after.columns ? after : before
  const own = nodeAt(grid, x, y)
  const near = (graph) => new Set(neighborsOf(graph, own).map(({node}) => node))
  const most = Math.max(near(grid).size, 1)
  const [old, now] = [before, after].map((graph) => (graph === grid || equal ? near(graph) : votedNeighbors(graph, grid, own, most)))
  const [kept, gained] = [[...now].filter((cell) => old.has(cell)), [...now].filter((cell) => !old.has(cell))]
  const lost = [...old].filter((cell) => !now.has(cell))
  const status = (node) => {  // of a neighbour in the graph after
    const cell = patchOf(after, node, grid)
    return cell === own ? "inside" : kept.includes(cell) ? "kept" : gained.includes(cell) ? "new" : "–"
  }
  return {grid, equal, kept, lost, gained, status}
}
