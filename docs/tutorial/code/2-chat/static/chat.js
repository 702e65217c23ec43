const state = document.querySelector('#state');
const messages = document.querySelector('#messages');
const form = document.querySelector('#say');

const socket = new io.Socket(location.hostname, { maxReconnectionAttempts: Infinity });

socket.on('connect', () => {
  state.textContent = 'Connected';
});

socket.on('disconnect', () => {
  state.textContent = 'Connection lost, trying again…';
});

socket.on('message', (text) => {
  const item = document.createElement('li');
  item.textContent = text;
  messages.append(item);
  item.scrollIntoView();
});

socket.connect();

form.addEventListener('submit', (event) => {
  event.preventDefault();
  const text = form.elements.text.value;
  if (text.trim()) {
    socket.send(text);
    form.reset();
  }
});
