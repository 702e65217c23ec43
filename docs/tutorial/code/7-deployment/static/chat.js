const find = (selector) => document.querySelector(selector);
const rooms = [...document.querySelectorAll('nav button')];
const form = find('#say');

let room = null; // where we are, and want to be again after the connection was lost
const shown = new Set(); // ids of the messages on the page
const waiting = new Map(); // id -> text: said here, and not heard from the server yet

const socket = new io.Socket(location.hostname, { maxReconnectionAttempts: Infinity });

socket.on('connect', () => {
  find('#state').textContent = 'Connected';
  setEnabled(true);
  if (room) {
    enter(room);
  }
});

socket.on('disconnect', () => {
  find('#state').textContent = 'Connection lost. What you say is sent later…';
  setEnabled(false);
});

socket.on('connect_failed', refused);
socket.on('reconnect_failed', refused);

function refused(status) {
  if (status === 403) {
    location.assign('/login');
  } else {
    find('#state').textContent = 'No connection. Please load the page again later.';
  }
}

socket.on('message', (message) => {
  switch (message.type) {
    case 'entered': return entered(message);
    case 'left': return showRoom(null);
    case 'people': return showPeople(message.names);
    case 'said': return showMessage(message);
    case 'problem':
      waiting.clear(); // what the server does not take is not sent again
      return showProblem(message.text);
  }
});

socket.connect();

// What comes from the server

function entered(message) {
  if (message.room !== room) {
    find('#messages').replaceChildren();
    shown.clear();
    waiting.clear();
  }
  showRoom(message.room);
  message.said.forEach(showMessage);
  waiting.forEach((text, id) => socket.send({ type: 'say', id, text }));
  form.elements.text.focus();
}

function showRoom(name) {
  room = name;
  rooms.forEach((button) => button.setAttribute('aria-pressed', button.value === room));
  find('#hint').hidden = room !== null;
  find('#room').hidden = room === null;
  showProblem('');
}

function showPeople(names) {
  find('#people').textContent = `Here: ${names.join(', ')}`;
}

function showMessage({ id, name, text }) {
  waiting.delete(id);
  if (shown.has(id)) {
    return;
  }
  shown.add(id);
  const item = document.createElement('li');
  const author = document.createElement('b');
  author.textContent = name;
  item.append(author, ` ${text}`);
  find('#messages').append(item);
  item.scrollIntoView();
}

function showProblem(text) {
  find('#problem').textContent = text;
}

// What goes to the server

function enter(name) {
  socket.send({ type: 'enter', room: name });
}

function setEnabled(isEnabled) {
  for (const button of [...rooms, find('#leave')]) {
    button.disabled = !isEnabled;
  }
}

rooms.forEach((button) => button.addEventListener('click', () => enter(button.value)));

find('#leave').addEventListener('click', () => socket.send({ type: 'leave' }));

form.addEventListener('submit', (event) => {
  event.preventDefault();
  showProblem('');
  const text = form.elements.text.value;
  if (text.trim()) {
    const id = crypto.randomUUID();
    waiting.set(id, text);
    if (socket.connected) {
      socket.send({ type: 'say', id, text });
    }
    form.reset();
  }
});
