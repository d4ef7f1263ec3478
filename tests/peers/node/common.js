// What the two scripts for the npm package `ws` share.
'use strict';
const crypto = require('crypto');
const path = require('path');

// The package is looked for in tests/.work/node_modules.
exports.load = () => require(path.join(
  __dirname, '..', '..', '.work', 'node_modules', 'ws'));

exports.TIMEOUT = 10000;
exports.SIZES = [0, 1, 2, 124, 125, 126, 127, 128, 1000, 4095, 4096, 16383,
  16384, 16385, 65534, 65535, 65536, 65537, 100000, 262144, 1048575, 1048576];
exports.CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012,
  1013, 1014, 3000, 3999, 4000, 4999];

exports.binary = (size) => crypto.createHash('shake256',
  { outputLength: Math.max(size, 1) }).update(String(size)).digest()
  .subarray(0, size);

// UTF-8 of exactly `size` bytes, with characters of every length.
exports.text = (size) => {
  const unit = 'aé€\u{1F600}z~ü漢';
  const bytes = Buffer.byteLength(unit);
  return unit.repeat(Math.floor(size / bytes)) + '.'.repeat(size % bytes);
};

const show = (data) => {
  const text = JSON.stringify(Buffer.from(data).subarray(0, 40)
    .toString('latin1'));
  return `${text} (${Buffer.byteLength(data)} bytes)`;
};

exports.fail = (expected, observed) => {
  throw new Error(`expected ${expected}; observed ${observed}`);
};

// A promise that becomes a failure after TIMEOUT milliseconds.
exports.within = (promise, what, patience = exports.TIMEOUT) => {
  let timer;
  return Promise.race([promise, new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(
      `expected ${what}; observed nothing in ${patience / 1000} s`)),
    patience);
  })]).finally(() => clearTimeout(timer));
};

// A ws connection as queues that can be waited on.
exports.Peer = class {
  constructor(ws) {
    this.ws = ws;
    this.queue = [];
    this.waiting = null;
    for (const name of ['message', 'ping', 'pong', 'close', 'error', 'open',
      'unexpected-response', 'upgrade']) {
      ws.on(name, (...args) => this.push({ name, args }));
    }
  }

  push(event) {
    // Not part of what the cases wait for, one by one.
    if (event.name === 'upgrade') { this.response = event.args[0]; return; }
    this.queue.push(event);
    if (this.waiting) this.waiting();
  }

  async next(what) {
    while (!this.queue.length) {
      await exports.within(new Promise((done) => { this.waiting = done; }),
        what);
    }
    this.waiting = null;
    return this.queue.shift();
  }

  async expect(name, what) {
    const event = await this.next(what || name);
    if (event.name !== name) {
      exports.fail(what || name, event.name + ' ' + event.args.map(
        (a) => (a instanceof Error ? a.message : String(a).slice(0, 80)))
        .join(' '));
    }
    return event.args;
  }

  async message(data, isBinary) {
    const what = `${isBinary ? 'binary' : 'text'} ${show(data)}`;
    const [got, gotBinary] = await this.expect('message', what);
    if (gotBinary !== isBinary || !got.equals(Buffer.from(data))) {
      exports.fail(what, `${gotBinary ? 'binary' : 'text'} ${show(got)}`);
    }
  }

  async echo(data) {
    const isBinary = typeof data !== 'string';
    this.ws.send(data);
    await this.message(data, isBinary);
  }

  async pong(data) {
    const [got] = await this.expect('pong', `pong ${show(data)}`);
    if (!got.equals(Buffer.from(data))) {
      exports.fail(`pong ${show(data)}`, `pong ${show(got)}`);
    }
  }

  async closed(code, reason) {
    const [got, why] = await this.expect('close', `close ${code}`);
    if (got !== code) exports.fail(`close ${code}`, `close ${got} ${why}`);
    if (reason !== undefined && String(why) !== reason) {
      exports.fail(`reason ${JSON.stringify(reason)}`,
        JSON.stringify(String(why)));
    }
  }
};

// What both ends have in common: peer is open, done() checks the other side
// after the close.
exports.sessions = () => {
  const { binary, text, SIZES, CODES } = exports;
  const cases = [];
  const add = (name, run) => cases.push({ name, run });
  const bye = async (peer) => {
    peer.ws.close(1000, 'done');
    await peer.closed(1000);
  };
  add('text of every size', async (peer) => {
    for (const size of SIZES) await peer.echo(text(size));
    await bye(peer);
  });
  add('binary of every size', async (peer) => {
    for (const size of SIZES) await peer.echo(binary(size));
    await bye(peer);
  });
  add('messages that are not waited for', async (peer) => {
    for (const size of SIZES) {
      peer.ws.send(text(size));
      peer.ws.send(binary(size));
    }
    for (const size of SIZES) {
      await peer.message(text(size), false);
      await peer.message(binary(size), true);
    }
    await bye(peer);
  });
  for (const part of [1, 100, 1000, 65536]) {
    add(`fragments of ${part} bytes`, async (peer) => {
      for (const isBinary of [false, true]) {
        const data = Buffer.from(isBinary ? binary(9000 + part)
          : text(9000 + part));
        for (let i = 0; i < data.length; i += part) {
          peer.ws.send(data.subarray(i, i + part),
            { binary: isBinary, fin: i + part >= data.length });
        }
        await peer.message(data, isBinary);
      }
      await bye(peer);
    });
  }
  add('fragments with pings between', async (peer) => {
    peer.ws.send('one', { fin: false });
    peer.ws.ping('between');
    await peer.pong('between');
    peer.ws.send('two', { fin: false });
    peer.ws.ping('');
    peer.ws.pong('unasked');
    await peer.pong('');
    peer.ws.send('', { fin: true });
    await peer.message('onetwo', false);
    await bye(peer);
  });
  add('pings', async (peer) => {
    for (const size of [0, 1, 4, 124, 125]) {
      peer.ws.ping(binary(size));
      await peer.pong(binary(size));
    }
    for (let i = 0; i < 10; i++) peer.ws.ping(`ping ${i}`);
    for (let i = 0; i < 10; i++) await peer.pong(`ping ${i}`);
    peer.ws.pong('unasked');
    await peer.echo('after');
    await bye(peer);
  });
  for (const code of CODES) {
    add(`close ${code}`, async (peer) => {
      peer.ws.close(code, 'because, \u00e9');
      await peer.closed(code);
    });
  }
  add('close without code', async (peer) => {
    peer.ws.close();
    const [code] = await peer.expect('close');
    if (code !== 1005 && code !== 1000) {
      exports.fail('close 1005 or 1000', code);
    }
  });
  add('close with a reason of 123 bytes', async (peer) => {
    peer.ws.close(4000, 'x'.repeat(123));
    await peer.closed(4000);
  });
  add('close behind a message', async (peer) => {
    peer.ws.send(binary(100000));
    peer.ws.close(1000);
    await peer.message(binary(100000), true);
    await peer.closed(1000);
  });
  add('1,000 round trips', async (peer) => {
    for (let i = 0; i < 1000; i++) await peer.echo(`message ${i}`);
    await bye(peer);
  });
  return cases;
};

exports.Report = class {
  constructor(title) {
    this.title = title;
    this.passed = this.failed = 0;
  }

  async run(name, call) {
    try {
      await call();
      this.passed++;
    } catch (e) {
      this.failed++;
      console.log(`FAIL ${this.title}: ${name}: ${e.message}`);
    }
  }

  end() {
    console.log(`${this.title}: ${this.passed} passed, ${this.failed} failed,`
      + ' 0 skipped');
    process.exit(this.failed || !this.passed ? 1 : 0);
  }
};
