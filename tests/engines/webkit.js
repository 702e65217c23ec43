/* What a test asks of a page in WebKit. `find` follows the steps of a locator (webkit.py), from the document on. */

const normalized = (text) => text.replace(/\s+/g, ' ').trim();

const isLike = (text, wanted, exact) => {
  const found = normalized(text);
  return exact ? found === normalized(wanted) : found.toLowerCase().includes(normalized(wanted).toLowerCase());
};

const isVisible = (element) =>
  element.getClientRects().length > 0 && getComputedStyle(element).visibility === 'visible';

const ROLES = {
  button: 'button, input[type=submit], input[type=button], [role=button]',
  rowheader: 'th[scope=row], [role=rowheader]',
};

const nameOf = (element) => element.getAttribute('aria-label')
  || [...(element.labels ?? [])].map((label) => label.textContent).join(' ') || element.textContent || element.value || '';

const within = (roots, selector) => [...new Set(roots.flatMap((root) => [...root.querySelectorAll(selector)]))];

const STEPS = {
  css: (found, { css }) => within(found, css),
  has_text: (found, { has_text }) => found.filter((element) => isLike(element.textContent, has_text, false)),
  has: (found, { has }) => found.filter((element) => find(has, [element]).length > 0),
  visible: (found) => found.filter(isVisible),
  nth: (found, { nth }) => found.slice(nth, nth === -1 ? undefined : nth + 1),
  label: (found, { label, exact }) =>
    within(found, 'input, textarea, select, [aria-label]').filter((element) => {
      const labels = [...(element.labels ?? [])].map((each) => each.textContent);
      return [element.getAttribute('aria-label') ?? '', ...labels].some((text) => isLike(text, label, exact));
    }),
  role: (found, { role, name, exact }) =>
    within(found, ROLES[role]).filter((element) => isVisible(element) && isLike(nameOf(element), name, exact)),
  text: (found, { text, exact }) => {
    const meant = within(found, '*').filter((element) => isLike(element.textContent, text, exact));
    return meant.filter((element) => !meant.some((other) => other !== element && element.contains(other)));
  },
};

function find(steps, roots = [document]) {
  return steps.reduce((found, step) => STEPS[Object.keys(step)[0]](found, step), roots);
}

/** A list of handles by their number; a handle inside an argument is `{"handle": NUMBER}`. */
const handles = (window.webkitTestHandles ??= []);

const revived = (value) => {
  if (Array.isArray(value)) {
    return value.map(revived);
  }
  if (value === null || typeof value !== 'object') {
    return value;
  }
  return 'handle' in value
    ? handles[value.handle]
    : Object.fromEntries(Object.entries(value).map(([key, each]) => [key, revived(each)]));
};
