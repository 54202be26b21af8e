// The stream, an event per line. Lines are made in chunks when they come near, and forgotten when they are far.
const CHUNK = 60;
const LINE = 22;

class StreamPane {
  /** `on` has light(token or -1, event) for hovering and go(event, token or -1) for choosing. */
  constructor(root, id, on) {
    this.root = root;
    this.id = id;
    this.on = on;
    root.addEventListener("mouseover", (event) => {
      const row = event.target.closest(".row");
      const token = event.target.closest(".token");
      on.light(token ? Number(token.dataset.token) : -1, row ? Number(row.dataset.event) : -1);
    });
    root.addEventListener("mouseleave", () => on.light(-1, -1));
    root.addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (row) on.go(Number(row.dataset.event));
    });
    root.addEventListener("keydown", (event) => this.key(event));
    root.addEventListener("blur", () => {
      this.token = -1;
      on.light(-1, -1);
    });
  }

  show(trace) {
    this.trace = trace;
    this.event = trace.numEvents - 1;
    this.token = -1; // where the keyboard is within the event
    this.rows = new Map(); // event -> its element, of the chunks that are filled
    this.root.textContent = "";
    if (this.observer) this.observer.disconnect();
    this.chunks = [];
    for (let start = 0; start < trace.numEvents; start += CHUNK) {
      const chunk = element("div", "chunk");
      chunk.setAttribute("role", "presentation");
      chunk.dataset.start = start;
      chunk.style.height = `${this.guess(start)}px`;
      this.chunks.push(chunk);
      this.root.append(chunk);
    }
    if (this.chunks.length <= 4) this.chunks.forEach((chunk) => this.fill(chunk));
    else {
      this.observer = new IntersectionObserver(
        (entries) => entries.forEach((entry) => (entry.isIntersecting ? this.fill(entry.target) : this.empty(entry.target))),
        { root: this.root, rootMargin: "1200px" },
      );
      this.chunks.forEach((chunk) => this.observer.observe(chunk));
    }
    this.root.scrollTop = 0;
  }

  guess(start) {
    let lines = 0;
    for (let e = start; e < Math.min(start + CHUNK, this.trace.numEvents); e++) {
      lines += 1 + (this.trace.mistakes[e] ? 1 : 0);
      for (let t = this.trace.firstToken(e); t < this.trace.lastToken(e) - 1; t++) {
        if (this.trace.words[this.trace.tokens[t]].includes("\n")) lines++;
      }
    }
    return lines * LINE;
  }

  fill(chunk) {
    if (chunk.firstChild) return;
    const start = Number(chunk.dataset.start);
    const end = Math.min(start + CHUNK, this.trace.numEvents);
    for (let e = start; e < end; e++) {
      const row = this.make(e);
      this.rows.set(e, row);
      chunk.append(row);
    }
    chunk.style.height = "";
  }

  empty(chunk) {
    if (!chunk.firstChild) return;
    const start = Number(chunk.dataset.start);
    const end = Math.min(start + CHUNK, this.trace.numEvents);
    if (this.event >= start && this.event < end) return; // the listbox points at a line of it
    chunk.style.height = `${chunk.offsetHeight}px`;
    chunk.textContent = "";
    for (let e = start; e < end; e++) this.rows.delete(e);
  }

  make(e) {
    const { trace } = this;
    const row = element("div", `row ${KIND_NAMES[trace.kinds[e]]}`);
    row.id = `${this.id}-e${e}`;
    row.dataset.event = e;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", e === this.event);
    row.setAttribute("aria-setsize", trace.numEvents);
    row.setAttribute("aria-posinset", e + 1);
    const body = element("span", "tokens");
    const node = trace.nodes[e];
    body.style.marginLeft = `${Math.min(node >= 0 ? trace.depth[node] : 0, 8) * 14}px`;
    const end = trace.lastToken(e);
    for (let t = trace.firstToken(e); t < end; t++) {
      let word = trace.words[trace.tokens[t]];
      if (t === end - 1) word = word.replace(/\n$/, "");
      if (word.startsWith(" ") && word.length > 1) {
        body.append(" ");
        word = word.slice(1);
      }
      const token = element("span", "token", word);
      token.dataset.token = t;
      if (/^<(pad|bos|eos)>$/.test(word)) token.classList.add("special");
      if (trace.kinds[e] === REST && trace.rest.name === "unreadable" && t === end - (trace.tokens.length - trace.firstToken(e)) + trace.rest.at) {
        token.classList.add("stop");
      }
      body.append(token);
    }
    row.append(element("span", "number", e), body);
    if (trace.kinds[e] === REST && !trace.mistakes[e]) row.append(element("span", "note quiet", trace.rest.name));
    if (e === trace.planEvent) row.append(element("span", "note good", "right plan"));
    if (e === trace.goalEvent) row.append(element("span", "note good", "solved"));
    if (trace.mistakes[e]) {
      row.classList.add("wrong");
      const note = element("span", "note bad");
      note.append(element("b", "", trace.mistakes[e].name), ` ${trace.mistakes[e].text}`);
      row.append(note);
    }
    row.classList.toggle("future", e > this.event);
    row.classList.toggle("current", e === this.event);
    return row;
  }

  row(event) {
    this.fill(this.chunks[Math.floor(event / CHUNK)]);
    return this.rows.get(event);
  }

  goTo(event, follow) {
    this.event = event;
    this.token = -1;
    const current = this.row(event);
    for (const [e, row] of this.rows) {
      row.classList.toggle("future", e > event);
      row.classList.toggle("current", e === event);
      row.setAttribute("aria-selected", e === event);
    }
    this.root.setAttribute("aria-activedescendant", current.id);
    if (follow) this.reveal(current);
  }

  reveal(row) {
    const box = this.root.getBoundingClientRect();
    const at = row.getBoundingClientRect();
    const margin = Math.min(60, box.height / 4);
    if (at.top < box.top + margin) this.root.scrollTop += at.top - box.top - margin;
    else if (at.bottom > box.bottom - margin) this.root.scrollTop += at.bottom - box.bottom + margin;
  }

  /** Light a token, its event, and weakly the other events of the same node. */
  light(token, event, events) {
    for (const row of this.root.querySelectorAll(".lit, .same")) row.classList.remove("lit", "same");
    for (const e of events) {
      const row = this.rows.get(e);
      if (row) row.classList.add(e === event ? "lit" : "same");
    }
    const row = this.rows.get(event);
    if (!row) return;
    row.classList.add("lit");
    const lit = token >= 0 ? row.querySelector(`[data-token="${token}"]`) : null;
    if (lit) lit.classList.add("lit");
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const direction = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!direction || !this.trace.tokens.length) return;
    event.preventDefault();
    event.stopPropagation();
    const { trace } = this;
    const start = direction > 0 ? trace.firstToken(this.event) : trace.lastToken(this.event) - 1;
    const wanted = this.token < 0 ? start : this.token + direction;
    const token = Math.min(Math.max(wanted, 0), trace.tokens.length - 1);
    const at = trace.eventOfToken(token);
    if (at !== this.event) this.on.go(at);
    this.token = token;
    this.on.light(token, at);
  }
}
