/*
 * What browsers of 2010 had and today's have not: Gecko's XMLHttpRequest.multipart, and Internet Explorer's htmlfile.
 * Loaded before the official client, which finds out by itself what there is.
 */
'use strict';

(function () {
  /**
   * XMLHttpRequest.multipart: a response of multipart/x-mixed-replace fires readyState 4 for each part, whose text is in
   * responseText. As in Gecko the end of such a response is not told.
   */
  const {prototype} = XMLHttpRequest;
  const {open, send, abort, setRequestHeader} = prototype;
  const requests = new WeakMap();  // XMLHttpRequest to what is known of it

  function known(xhr) {
    if (!requests.has(xhr)) requests.set(xhr, {multipart: false, streaming: false, headers: {}});
    return requests.get(xhr);
  }

  Object.defineProperty(prototype, 'multipart', {
    configurable: true,
    enumerable: true,
    get() { return known(this).multipart; },
    set(value) { known(this).multipart = Boolean(value); },
  });

  prototype.open = function (method, url, ...rest) {
    Object.assign(known(this), {method, url, headers: {}, streaming: false});
    return open.call(this, method, url, ...rest);
  };

  prototype.setRequestHeader = function (name, value) {
    known(this).headers[name] = value;
    return setRequestHeader.call(this, name, value);
  };

  prototype.send = function (body) {
    const request = known(this);
    if (!request.multipart) return send.call(this, body);
    Object.assign(request, {streaming: true, state: 1, status: 0, text: '', controller: new AbortController()});
    stream(this, request, body);
  };

  prototype.abort = function () {
    const request = known(this);
    if (!request.streaming) return abort.call(this);
    request.controller.abort();
    Object.assign(request, {state: 0, status: 0, text: ''});
  };

  for (const [name, key] of [['readyState', 'state'], ['status', 'status'], ['responseText', 'text']]) {
    const native = Object.getOwnPropertyDescriptor(prototype, name).get;
    Object.defineProperty(prototype, name, {
      configurable: true,
      enumerable: true,
      get() {
        const request = known(this);
        return request.streaming ? request[key] : native.call(this);
      },
    });
  }

  async function stream(xhr, request, body) {
    const {method, url, headers, controller} = request;

    function enter(state, status, text) {
      if (controller.signal.aborted) return;
      Object.assign(request, {state, status, text});
      xhr.dispatchEvent(new Event('readystatechange'));
    }

    try {
      const credentials = xhr.withCredentials ? 'include' : 'same-origin';
      const response = await fetch(url, {method, headers, credentials, body, signal: controller.signal});
      const type = /^multipart\/x-mixed-replace;\s*boundary="?([^";]+)/.exec(response.headers.get('Content-Type'));
      if (!type) {
        enter(4, response.status, await response.text());
        return;
      }
      for await (const part of parts(response.body, type[1])) {
        enter(2, response.status, '');
        enter(3, response.status, part);
        enter(4, response.status, part);
      }
    } catch (error) {
      if (request.state < 4) enter(4, 0, '');  // no answer at all; a stream that breaks off ends in silence
    }
  }

  /** The texts of a multipart response's parts. */
  async function* parts(body, boundary) {
    const delimiter = `\n--${boundary}\n`;
    let text = '\n';
    for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      for (let end = text.indexOf(delimiter); end >= 0; end = text.indexOf(delimiter)) {
        const part = text.slice(0, end);
        text = text.slice(end + delimiter.length);
        const head = part.indexOf('\n\n');
        if (head >= 0) yield part.slice(head + 2);
      }
    }
  }

  /**
   * new ActiveXObject('htmlfile'): a document of its own, out of sight. Here it is that of an iframe; the page in it, the
   * stream, is loaded and run by the browser as any other.
   */
  window.ActiveXObject = function ActiveXObject(name) {
    if (name !== 'htmlfile') throw new Error(`there is no ActiveXObject ${name}`);
    const frame = document.createElement('iframe');
    frame.hidden = true;
    document.documentElement.appendChild(frame);
    frame.contentDocument.parentWindow = frame.contentWindow;
    return frame.contentDocument;
  };
  window.CollectGarbage = () => {};
  window.attachEvent = (name, listener) => { addEventListener(name.replace(/^on/, ''), listener); };
})();
