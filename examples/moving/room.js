// What the two pages have in common, which knows no connection: names, the messages, the form.

const element = (id) => document.getElementById(id);

/** The name of who is here, of the address (?name=Otter), or made up. */
export const name = new URL(location.href).searchParams.get('name') || `Guest ${100 + Math.floor(900 * Math.random())}`;

export function showState(state, text) {
  element('state').dataset.state = state;
  element('state').textContent = text;
}

export const joined = (message) => show(`${message.name} is here`);
export const left = (message) => show(`${message.name} has left`);
export const said = (message) => show(`${message.name}: ${message.text}`);

function show(text) {
  element('log').appendChild(document.createElement('li')).textContent = text;
}

/** Calls `say` with each text that is written. */
export function onWritten(say) {
  element('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    say(element('text').value);
    element('composer').reset();
  });
}
