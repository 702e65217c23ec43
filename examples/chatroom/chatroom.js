// The page of the chatroom. What page and server send each other stands at the head of chatroom.py.

const element = (id) => document.getElementById(id);

const GROUP_SECONDS = 300;
const address = new URL(location.href);
const hasKeyboard = matchMedia('(pointer: fine)').matches;

let socket = null;
const formers = []; // sockets with another transport, until the present one has taken over
let name = recall('sessionStorage', 'name') || recall('localStorage', 'name') || '';
let asking = false; // at the door, writing a name
let joined = false;
let wasLost = false;
let shownName = '';
let limit = Infinity;
let unread = 0;
let following = true; // the end of the conversation is in view
const people = new Set();
const seen = new Set(); // ids of the messages on the page: a newer history brings old ones again
const outbox = new Map(); // id -> text and list item of what the server has not yet said

const tab = recall('sessionStorage', 'tab') || randomId();
keep('sessionStorage', 'tab', tab);

// Where the browser keeps nothing for the site, as cookies are blocked, it throws. Then a reload asks for the name again.

function recall(storage, key) {
  try {
    return window[storage].getItem(key);
  } catch {
    return null;
  }
}

function keep(storage, key, value) {
  try {
    window[storage].setItem(key, value);
  } catch {
    // see above
  }
}

function randomId() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join('');
}

// The connection

function connect() {
  const transport = element('transport').value;
  // A transport that was picked is not for the cookie, in which "automatic" remembers what worked.
  const options = transport ? { transports: [transport], rememberTransport: false } : {};
  const current = socket = new io.Socket(location.hostname, { ...options, maxReconnectionAttempts: Infinity });
  const on = (event, handler) => current.on(event, (...details) => current === socket && handler(...details));
  on('connecting', () => showState('busy', socket.reconnecting ? 'Trying again…' : 'Connecting…'));
  on('connect', () => {
    showState('on', `Connected · ${socket.transport.type}`);
    if (!asking) join();
  });
  on('message', receive);
  on('disconnect', lost);
  on('reconnecting', (delay) => showState('busy', `Trying again in ${Math.ceil(delay / 1000)} s`, true));
  on('connect_failed', failed);
  on('reconnect_failed', failed); // it is refused: else it tries for ever
  socket.connect();
}

function failed() {
  endFormers();
  showState('off', 'No connection', true);
}

// The former connection ends when we are in the room over the new one, so that nobody sees us leave.
function reconnect() {
  formers.push(socket);
  joined = false;
  connect();
}

function endFormers() {
  formers.splice(0).forEach((former) => former.disconnect());
}

function join() {
  socket.send({ type: 'join', name, tab });
}

function lost() {
  if (joined) {
    notice('Connection lost');
    wasLost = true;
  }
  joined = false;
  showState('busy', 'Connection lost');
  showHint();
}

function showState(state, text, mayRetry = false) {
  element('state').dataset.state = state;
  element('state').textContent = text;
  element('retry').hidden = !mayRetry;
}

function receive(message) {
  switch (message.type) {
    case 'welcome': return welcome(message);
    case 'joined': return joins(message.name);
    case 'left': return leaves(message.name);
    case 'said': return said(message);
    case 'refused': return refused(message);
  }
}

// In and out

function welcome(message) {
  joined = true;
  endFormers();
  name = message.name;
  limit = message.limit;
  keep('sessionStorage', 'name', name);
  people.clear();
  message.people.forEach((person) => people.add(person));
  showPeople();
  element('log').setAttribute('aria-busy', 'true'); // a screen reader need not read out the whole history
  message.history.forEach(said);
  if (name !== shownName) notice(`You are here as ${name}`);
  else if (wasLost) notice('Connected again');
  shownName = name;
  wasLost = false;
  element('log').removeAttribute('aria-busy');
  outbox.forEach((letter, id) => socket.send({ type: 'say', id, text: letter.text }));
  asking = false;
  enter('room');
  showHint();
}

function joins(person) {
  people.add(person);
  showPeople();
  notice(`${person} joined`);
}

function leaves(person) {
  people.delete(person);
  showPeople();
  notice(`${person} left`);
}

function refused({ id, reason }) {
  if (!joined) {
    if (!id) askName(reason); // else it is a message that was there before our name: the welcome sends it again
    return;
  }
  const letter = outbox.get(id);
  drop(id);
  if (letter && !element('text').value) element('text').value = letter.text;
  notice(reason, 'problem');
}

function enter(place) {
  if (!element(place).hidden) return;
  element('door').hidden = place !== 'door';
  element('room').hidden = place !== 'room';
  element(place === 'door' ? 'name' : 'text').focus();
  scrollDown();
}

function askName(problem = '') {
  asking = true;
  element('name').value = name;
  element('name-problem').textContent = problem;
  enter('door');
}

function showPeople() {
  const others = [...people].filter((person) => person !== name).sort((a, b) => a.localeCompare(b));
  const items = [name, ...others].map((person) => {
    const item = document.createElement('li');
    item.textContent = person;
    item.classList.toggle('me', person === name);
    return colour(item, person);
  });
  element('people').replaceChildren(...items);
  element('count').textContent = items.length;
}

// Messages

function said(message) {
  drop(message.id);
  if (seen.has(message.id)) return;
  seen.add(message.id);
  add(element('log'), messageItem(message));
  if (document.hidden) {
    unread += 1;
    showTitle();
  }
}

function messageItem({ name: person, text, time }) {
  const item = document.createElement('li');
  const before = element('log').lastElementChild;
  item.className = person === name ? 'message own' : 'message';
  if (before && before.dataset.person === person && time - before.dataset.time < GROUP_SECONDS) item.classList.add('more');
  item.dataset.person = person;
  item.dataset.time = time;
  item.append(byline(person, time), paragraph('text', text));
  item.title = new Date(time * 1000).toLocaleString();
  return item;
}

function byline(person, time) {
  const line = paragraph('byline', '');
  const author = document.createElement('b');
  author.textContent = person;
  const clock = document.createElement('time');
  const date = new Date(time * 1000);
  clock.dateTime = date.toISOString();
  clock.textContent = date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  line.append(colour(author, person), clock);
  return line;
}

function paragraph(className, text) {
  const line = document.createElement('p');
  line.className = className;
  line.textContent = text;
  return line;
}

function colour(item, person) {
  let hue = 0;
  for (const character of person) hue = (hue * 31 + character.codePointAt(0)) % 360;
  item.dataset.hue = '';
  item.style.setProperty('--hue', hue);
  return item;
}

function notice(text, className = '') {
  const item = document.createElement('li');
  item.className = `notice ${className}`;
  item.textContent = text;
  add(element('log'), item);
}

function say(text) {
  const id = randomId();
  const item = document.createElement('li');
  item.className = 'message own waiting';
  item.append(paragraph('text', text));
  outbox.set(id, { text, item });
  add(element('outbox'), item);
  scrollDown();
  if (joined) socket.send({ type: 'say', id, text });
}

function drop(id) {
  if (!outbox.has(id)) return;
  outbox.get(id).item.remove();
  outbox.delete(id);
}

function showTitle() {
  document.title = unread ? `(${unread}) Chatroom` : 'Chatroom';
}

// Scrolling: who is at the end stays there, who reads further up is left in peace.

function add(list, item) {
  list.append(item);
  if (following) scrollDown();
  else if (item.matches('.message')) element('newer').hidden = false;
}

function scrollDown() {
  element('scroller').scrollTop = element('scroller').scrollHeight;
}

// Writing

function showHint() {
  const over = [...element('text').value].length - limit;
  const hint = element('hint');
  hint.classList.toggle('problem', over > 0);
  element('send').disabled = over > 0;
  if (over > 0) hint.textContent = `${over} ${over === 1 ? 'character' : 'characters'} too many: ${limit} at most.`;
  else if (over > -200) hint.textContent = `${-over} characters left`;
  else if (!joined) hint.textContent = 'What you send now waits for the connection.';
  else hint.textContent = hasKeyboard ? 'Enter sends, Shift+Enter begins a new line.' : '';
}

function fitText() {
  const text = element('text');
  text.style.height = 'auto';
  text.style.height = `${text.scrollHeight + text.offsetHeight - text.clientHeight}px`;
}

element('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = element('text').value;
  if (text.trim()) {
    say(text);
    element('text').value = '';
    fitText();
    showHint();
  }
  element('text').focus();
});

element('text').addEventListener('input', () => {
  fitText();
  showHint();
});

// An Enter that ends a composition, say of Japanese, is none to send with. Safari's comes when the composition has ended,
// but still with the code 229.
element('text').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  element('send').click();
});

element('join').addEventListener('submit', (event) => {
  event.preventDefault();
  asking = false;
  name = element('name').value;
  keep('localStorage', 'name', name);
  if (socket && socket.connected) join();
  else if (socket) socket.connect();
  else connect();
});

element('rename').addEventListener('click', () => {
  if (joined) socket.send({ type: 'leave' });
  joined = false;
  askName();
});

function tryNow() {
  if (socket) socket.connect();
}

element('retry').addEventListener('click', tryNow);
addEventListener('online', tryNow);

element('transport').addEventListener('change', () => {
  const transport = element('transport').value;
  if (transport) address.searchParams.set('transport', transport);
  else address.searchParams.delete('transport');
  history.replaceState(null, '', address);
  if (socket) reconnect();
});

element('newer').addEventListener('click', scrollDown);

element('scroller').addEventListener('scroll', () => {
  const { scrollHeight, scrollTop, clientHeight } = element('scroller');
  following = scrollHeight - scrollTop - clientHeight < 40;
  if (following) element('newer').hidden = true;
});

new ResizeObserver(() => following && scrollDown()).observe(element('scroller'));

document.addEventListener('visibilitychange', () => {
  unread = 0;
  showTitle();
  if (!document.hidden) tryNow();
});

// A transport in the address is chosen at once: /?transport=xhr-polling

const wanted = address.searchParams.get('transport');
if ([...element('transport').options].some((option) => option.value === wanted)) element('transport').value = wanted;

showHint();
if (name) {
  enter('room');
  connect();
} else {
  askName();
}
