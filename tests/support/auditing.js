// What auditing.py asks of a page; run in it, and called by name.

// Texts whose contrast to what lies behind them is less, by what they are.
function pale(least) {
  const parsed = (text) => { const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number); return [r, g, b, a]; };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const found = [];
    for (let at = element; at; at = at.parentElement) found.unshift(parsed(getComputedStyle(at).backgroundColor));
    return found.reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const pale = {};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    const box = element.getBoundingClientRect(), style = getComputedStyle(element);
    if (!text || box.width < 2 || style.visibility === "hidden" || element.closest("script, style, option")) continue;
    const ground = behind(element), ink = parsed(element.closest("svg") ? style.fill : style.color);
    for (let at = element; at; at = at.parentElement) ink[3] *= Number(getComputedStyle(at).opacity);
    const [low, high] = [light(over(ink, ground)), light(ground)].sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < least) pale[`${element.tagName.toLowerCase()}.${element.className} "${text.slice(0, 30)}"`] = contrast;
  }
  return pale;
}

// Where the order of the Tab key is not that in which people read.
function disordered() {
  // What is out of sight has its place only once it is laid out.
  for (const element of document.querySelectorAll("body *")) {
    if (getComputedStyle(element).contentVisibility === "auto") element.style.contentVisibility = "visible";
  }
  const all = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]")];
  const can = all.filter((element) => !element.disabled && element.tabIndex >= 0 && !element.matches(".skip")
    && element.getClientRects().length && getComputedStyle(element).visibility !== "hidden");
  const told = (element) => `${element.tagName.toLowerCase()} "${(element.getAttribute("aria-label") || element.textContent || element.name).trim().slice(0, 30)}"`;
  const wrong = all.filter((element) => element.tabIndex > 0).map((element) => `${told(element)} has a place of its own in the order`);
  for (let i = 1; i < can.length; i++) {
    const [a, b] = [can[i - 1].getBoundingClientRect(), can[i].getBoundingClientRect()];
    const isInside = can[i - 1].contains(can[i]);
    const isAbove = b.bottom <= a.top + 1 && b.left < a.right - 1, isLeft = b.top < a.bottom - 2 && a.top < b.bottom - 2 && b.right <= a.left + 1;
    if (!isInside && (isAbove || isLeft)) wrong.push(`${told(can[i])} comes after ${told(can[i - 1])} and lies before it`);
  }
  return wrong;
}
