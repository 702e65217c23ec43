const find = (selector) => document.querySelector(selector);
const rooms = [...document.querySelectorAll('nav button')];
const form = find('#say');

let room = null; // where we are, and want to be again after the connection was lost

const socket = new io.Socket(location.hostname, { maxReconnectionAttempts: Infinity });

socket.on('connect', () => {
  find('#state').textContent = 'Connected';
  setEnabled(true);
  if (room) {
    enter(room);
  }
});

socket.on('disconnect', () => {
  find('#state').textContent = 'Connection lost, trying again…';
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
    case 'problem': return showProblem(message.text);
  }
});

socket.connect();

// What comes from the server

function entered(message) {
  showRoom(message.room);
  find('#messages').replaceChildren();
  message.said.forEach(showMessage);
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

function showMessage({ name, text }) {
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
  for (const button of document.querySelectorAll('main button')) {
    button.disabled = !isEnabled;
  }
}

rooms.forEach((button) => button.addEventListener('click', () => enter(button.value)));

find('#leave').addEventListener('click', () => socket.send({ type: 'leave' }));

form.addEventListener('submit', (event) => {
  event.preventDefault();
  showProblem('');
  const text = form.elements.text.value;
  if (socket.connected && text.trim()) {
    socket.send({ type: 'say', text });
    form.reset();
  }
});
