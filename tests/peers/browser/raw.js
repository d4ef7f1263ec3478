// HTTP and WebSocket by hand, for what no browser would send.
'use strict';
const net = require('net');
const { within, fail } = require('../node/common.js');

// Send a request head; the whole answer, until the server ends it.
exports.request = (port, lines) => within(new Promise((done, failed) => {
  const socket = net.connect(port, '127.0.0.1');
  const parts = [];
  socket.on('error', failed);
  socket.on('data', (data) => parts.push(data));
  socket.on('end', () => {
    const all = Buffer.concat(parts).toString();
    const end = all.indexOf('\r\n\r\n');
    const [first, ...fields] = all.slice(0, end).split('\r\n');
    const headers = {};
    for (const field of fields) {
      const colon = field.indexOf(':');
      headers[field.slice(0, colon).toLowerCase()] =
        field.slice(colon + 1).trim();
    }
    socket.destroy();
    done({ status: Number(first.split(' ')[1]), headers,
      body: all.slice(end + 4) });
  });
  socket.write([...lines, '', ''].join('\r\n'));
}), 'an answer and the end of the stream');

exports.upgrade = (port, path, origin) => [
  `GET ${path} HTTP/1.1`, `Host: 127.0.0.1:${port}`, 'Upgrade: websocket',
  'Connection: Upgrade', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Version: 13', ...(origin ? [`Origin: ${origin}`] : [])];

// A WebSocket connection whose messages are lists of fields.
exports.Raw = class {
  constructor(port, origin) {
    this.socket = net.connect(port, '127.0.0.1');
    this.buffer = Buffer.alloc(0);
    this.queue = [];
    this.waiting = null;
    this.socket.on('error', () => {});
    this.socket.on('data', (data) => {
      this.buffer = Buffer.concat([this.buffer, data]);
      this.parse();
      if (this.waiting) this.waiting();
    });
    this.socket.write([...exports.upgrade(port, '/chat', origin), '', '']
      .join('\r\n'));
  }

  parse() {
    if (!this.status) {
      const end = this.buffer.indexOf('\r\n\r\n');
      if (end < 0) return;
      this.status = Number(this.buffer.toString('latin1', 9, 12));
      this.buffer = this.buffer.subarray(end + 4);
    }
    for (;;) {
      const b = this.buffer;
      if (b.length < 2) return;
      let at = 2;
      let size = b[1] & 127;
      if (size === 126) {
        if (b.length < 4) return;
        size = b.readUInt16BE(2);
        at = 4;
      } else if (size === 127) throw new Error('a frame above 64 KiB');
      if (b.length < at + size) return;
      const data = b.subarray(at, at + size);
      this.buffer = b.subarray(at + size);
      if ((b[0] & 15) === 8) {
        this.queue.push({ code: size ? data.readUInt16BE(0) : 1005 });
      } else {
        const text = data.toString();
        // A browser would end the connection.
        this.queue.push(Buffer.from(text).equals(data) ? text.split('\t')
          : { broken: data.toString('latin1') });
      }
    }
  }

  send(data, opcode = 1) {
    const payload = Buffer.from(data);
    const head = payload.length < 126
      ? Buffer.from([0x80 | opcode, 0x80 | payload.length, 0, 0, 0, 0])
      : Buffer.from([0x80 | opcode, 0xFE, payload.length >> 8,
        payload.length & 255, 0, 0, 0, 0]);
    return this.socket.write(Buffer.concat([head, payload]));
  }

  // The next message for which wanted() is true; others are passed over.
  find(what, wanted) {
    return within((async () => {
      for (;;) {
        while (this.queue.length) {
          const message = this.queue.shift();
          if (message.broken) fail('UTF-8', JSON.stringify(message.broken));
          if (wanted(message)) return message;
        }
        await new Promise((done) => { this.waiting = done; });
      }
    })(), what);
  }

  says(text) {
    return this.find(`a message "${text.slice(0, 40)}"`,
      (m) => m[0] === 'says' && m.slice(3).join('\t') === text);
  }

  closed(code) {
    return this.find(`close ${code}`, (m) => m.code === code);
  }

  end() {
    this.socket.destroy();
  }
};
