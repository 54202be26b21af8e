// Drawings of states, as data from the environment. A graph: nodes with their places from 0 to 1, edges, and what is marked.
// A grid of digits in boxes. A formula: its clauses, by what an assignment makes of them. A maze, with what the search has
// said of its cells so far. A level with its boxes.
const SIDE = 100;
const RADIUS = 6;
const SVG = document.getElementById("view").content.querySelector("svg").namespaceURI;

function svgElement(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function drawGraph({ nodes, edges, current, target, visited = [] }) {
  const at = (share) => (RADIUS + 1 + share * (SIDE - 2 * RADIUS - 2)).toFixed(1);
  const places = new Map(nodes.map(({ id, x, y }) => [id, [at(x), at(y)]]));
  const walked = new Set(visited.slice(1).flatMap((id, k) => [`${visited[k]} ${id}`, `${id} ${visited[k]}`]));
  const drawn = edges.filter(([a, b]) => places.has(a) && places.has(b));
  const lines = drawn.map(([a, b]) => {
    const [[x1, y1], [x2, y2]] = [places.get(a), places.get(b)];
    return svgElement("line", { x1, y1, x2, y2, class: walked.has(`${a} ${b}`) ? "walked" : "plain" });
  });
  const circles = nodes.map(({ id }) => {
    const [x, y] = places.get(id);
    const marks = { current: id === current, target: id === target, visited: visited.includes(id) };
    const names = Object.keys(marks).filter((name) => marks[name]);
    const label = svgElement("text", { x, y }, String(id));
    return svgElement("g", { class: names.join(" "), "data-id": id }, svgElement("circle", { cx: x, cy: y, r: RADIUS }), label);
  });
  const words = `graph: at ${current}, to ${target}`;
  return svgElement("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, role: "img", "aria-label": words }, ...lines, ...circles);
}

function drawGrid({ box, given, digits }) {
  const size = Math.sqrt(digits.length);
  const at = (k) => (1 + (k * (SIDE - 2)) / size).toFixed(1);
  const lines = [...Array(size + 1).keys()].flatMap((k) => [
    svgElement("line", { x1: at(k), y1: at(0), x2: at(k), y2: at(size), class: k % box[1] ? "plain" : "edge" }),
    svgElement("line", { x1: at(0), y1: at(k), x2: at(size), y2: at(k), class: k % box[0] ? "plain" : "edge" }),
  ]);
  const texts = digits.map((digit, cell) => {
    const place = { x: at((cell % size) + 0.5), y: at(Math.floor(cell / size) + 0.5) };
    return svgElement("text", { ...place, class: given[cell] ? "given" : "filled" }, digit ? String(digit) : "");
  });
  const words = `grid: ${digits.filter((digit) => digit).length} of ${digits.length} cells are full`;
  return svgElement("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, role: "img", "aria-label": words }, ...lines, ...texts);
}

/** `told` holds {cell, cost, estimate, mark} in the order in which they were said; the last word on a cell stays. */
function drawMaze({ width, height, start, goal, walls, cell: current }, told) {
  const size = (SIDE - 2) / Math.max(width, height);
  const left = (SIDE - size * width) / 2;
  const top = (SIDE - size * height) / 2;
  const words = new Map(told.map((one) => [one.cell, one]));
  const closed = new Set(told.filter(({ mark }) => mark === "closed").map((one) => one.cell)).size;
  const blocked = new Set(walls);
  const cells = [...Array(width * height).keys()].map((cell) => {
    const [x, y] = [left + size * (cell % width), top + size * (height - 1 - Math.floor(cell / width))];
    const said = words.get(cell);
    const marks = [blocked.has(cell) ? "wall" : said?.mark, cell === start && "start", cell === goal && "target"];
    const square = svgElement("rect", { x: x.toFixed(1), y: y.toFixed(1), width: size.toFixed(1), height: size.toFixed(1) });
    const made = svgElement("g", { class: [...marks, cell === current && "current"].filter(Boolean).join(" ") }, square);
    const place = { x: (x + size / 2).toFixed(1), y: (y + size / 2).toFixed(1), style: `font-size: ${(size / 3).toFixed(1)}px` };
    if (said && size > 6) made.append(svgElement("text", place, `${said.cost}+${said.estimate}`));
    return made;
  });
  const label = `maze: ${words.size} cells were reached, ${closed} are closed`;
  return svgElement("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, role: "img", "aria-label": label }, ...cells);
}

function drawClauses({ clauses, true: literals }) {
  const held = new Set(literals);
  const columns = Math.ceil(clauses.length / 12);
  const [width, height] = [SIDE / columns, SIDE / Math.ceil(clauses.length / columns)];
  const size = Math.min(height * 0.7, width / 9).toFixed(1);
  const count = { satisfied: 0, falsified: 0, open: 0 };
  const lines = clauses.map((clause, k) => {
    const marks = clause.map((literal) => (held.has(literal) ? "true" : held.has(-literal) ? "false" : "free"));
    const mark = marks.includes("true") ? "satisfied" : marks.includes("free") ? "open" : "falsified";
    count[mark] += 1;
    const parts = clause.flatMap((literal, m) => [
      ...(m ? [svgElement("tspan", {}, " ∨ ")] : []),
      svgElement("tspan", { class: marks[m] }, `${literal < 0 ? "¬" : ""}${Math.abs(literal)}`),
    ]);
    const [row, column] = [Math.floor(k / columns), k % columns];
    const place = { x: (width * (column + 0.5)).toFixed(1), y: (height * (row + 0.5)).toFixed(1) };
    return svgElement("text", { ...place, class: `clause ${mark}`, style: `font-size: ${size}px` }, ...parts);
  });
  const words = `formula: ${count.satisfied} clauses are true, ${count.falsified} falsified, ${count.open} open`;
  return svgElement("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, role: "img", "aria-label": words }, ...lines);
}

/** Cells are counted row by row from above; a box on a dock is `docked`. */
function drawLevel({ width, height, walls, docks, boxes, worker }) {
  const size = (SIDE - 2) / Math.max(width, height);
  const [left, top] = [(SIDE - size * width) / 2, (SIDE - size * height) / 2];
  const sets = { wall: new Set(walls), dock: new Set(docks), box: new Set(boxes) };
  const cells = [...Array(width * height).keys()].map((cell) => {
    const [x, y] = [left + size * (cell % width), top + size * Math.floor(cell / width)];
    const at = (share) => ({ x: (x + share * size).toFixed(1), y: (y + share * size).toFixed(1) });
    const side = (share) => ({ width: (share * size).toFixed(1), height: (share * size).toFixed(1) });
    const marks = [sets.wall.has(cell) && "wall", sets.dock.has(cell) && "dock"].filter(Boolean);
    const made = svgElement("g", { class: marks.join(" ") }, svgElement("rect", { ...at(0), ...side(1) }));
    const middle = { cx: (x + size / 2).toFixed(1), cy: (y + size / 2).toFixed(1) };
    if (sets.dock.has(cell)) made.append(svgElement("circle", { ...middle, r: (size / 8).toFixed(1), class: "spot" }));
    if (sets.box.has(cell)) {
      const kind = sets.dock.has(cell) ? "box docked" : "box";
      made.append(svgElement("rect", { ...at(0.16), ...side(0.68), rx: 1, class: kind }));
    }
    if (cell === worker) made.append(svgElement("circle", { ...middle, r: (size / 3.2).toFixed(1), class: "worker" }));
    return made;
  });
  const label = `level: ${boxes.filter((box) => sets.dock.has(box)).length} of ${boxes.length} boxes are on docks`;
  return svgElement("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, role: "img", "aria-label": label }, ...cells);
}

const DRAWERS = { graph: drawGraph, grid: drawGrid, maze: drawMaze, clauses: drawClauses, sokoban: drawLevel };

function draw(drawing, told) {
  return DRAWERS[drawing.kind](drawing, told);
}
