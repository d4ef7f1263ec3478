// Chromium against examples/chat.c.
//
//     node chat.js CHAT [PICTURE [TITLE]]
//
// CHAT is the program; PICTURE gets a picture of a conversation.  CHROMIUM
// names the browser.  playwright-core is looked for in
// tests/.work/browser/node_modules.
'use strict';
const { spawn } = require('child_process');
const http = require('http');
const path = require('path');
const { Report, within, fail } = require('../node/common.js');
const { Raw, request, upgrade } = require('./raw.js');
const { chromium } = require(path.join(__dirname, '..', '..', '.work',
  'browser', 'node_modules', 'playwright-core'));

const [program, picture, title] = process.argv.slice(2);
const report = new Report(title || 'browser against examples/chat.c');
const same = (what, observed, expected) => {
  const [a, b] = [expected, observed].map((v) => JSON.stringify(v));
  if (a !== b) fail(`${what} ${a}`, b);
};

// ------------------------------------------------------------- the server

const children = new Set();
process.on('exit', () => { for (const c of children) c.kill('SIGKILL'); });
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => process.exit(1));
}

class Chat {
  constructor(...options) {
    this.stderr = '';
    this.child = spawn(program, options);
    children.add(this.child);
    this.child.stderr.on('data', (data) => { this.stderr += data; });
    this.ended = new Promise((done) => {
      // 'close' is when all that it wrote has come, too.
      this.child.on('close', (status, signal) => {
        children.delete(this.child);
        done(status ?? signal);
      });
    });
    let stdout = '';
    this.listening = within(new Promise((done) => {
      this.child.stdout.on('data', (data) => {
        stdout += data;
        const url = /http:\/\/127\.0\.0\.1:(\d+)\/.*\n/.exec(stdout);
        if (url) done(Number(url[1]));
      });
    }), 'an address on standard output');
  }

  async end(signal) {
    this.child.kill(signal);
    same('exit status', await within(this.ended, `an end by ${signal}`), 0);
    same('standard error', this.stderr, '');
  }
}

// -------------------------------------------------------------- the pages

const complaints = [];
const complain = (text) => { complaints.push(text); };

async function open(browser, port, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(10000);
  page.on('pageerror', (error) => complain(String(error)));
  page.on('console', (message) => {
    // A server that is away is part of the test.
    if (message.type() === 'error'
      && !/WebSocket connection to/.test(message.text())) {
      complain(message.text());
    }
  });
  await page.goto(`http://127.0.0.1:${port}/`);
  return page;
}

// Keys only: the input line has the focus from the start.
async function type(page, text) {
  await page.keyboard.insertText(text);
  await page.keyboard.press('Enter');
}

const status = (page, text) => page.locator('#status', { hasText:
  new RegExp(`^${text}$`) }).waitFor();

// The last row becomes this; `number` of the speaker is left out.
async function last(page, kind, name, text) {
  const read = () => page.evaluate(() => {
    const row = document.querySelector('li:last-child');
    const name = row && row.querySelector('b');
    if (!name) return null;
    const number = name.querySelector('small').textContent;
    return [row.className, name.textContent.slice(0, -number.length),
      row.textContent.slice(name.textContent.length)];
  });
  const expected = JSON.stringify([kind, name, text]);
  const end = Date.now() + 10000;
  let row;
  do {
    row = JSON.stringify(await read());
    if (row === expected) return;
    await new Promise((done) => { setTimeout(done, 20); });
  } while (Date.now() < end);
  fail(`last row ${expected}`, row);
}

// Everyone in `names`, with any numbers, stands in the header.
async function here(page, names) {
  const read = () => page.evaluate(() => [...document.querySelectorAll(
    '#who b')].map((b) => b.firstChild.data));
  const end = Date.now() + 10000;
  let list;
  do {
    list = (await read()).sort();
    if (String(list) === String(names)) return;
    await new Promise((done) => { setTimeout(done, 20); });
  } while (Date.now() < end);
  fail(`${names} in the header`, list);
}

// ------------------------------------------------------------- HTTP alone

async function httpCases(port) {
  const head = (method, target) => [`${method} ${target} HTTP/1.1`,
    `Host: 127.0.0.1:${port}`];
  await report.run('GET / and HEAD /', async () => {
    const get = await request(port, head('GET', '/'));
    same('status', get.status, 200);
    same('type', get.headers['content-type'], 'text/html; charset=utf-8');
    same('nosniff', get.headers['x-content-type-options'], 'nosniff');
    same('policy', /default-src 'none'.*frame-ancestors 'none'/.test(
      get.headers['content-security-policy']), true);
    same('length', Buffer.byteLength(get.body),
      Number(get.headers['content-length']));
    same('a page', /^<!doctype html>[^]*<\/script>\n$/.test(get.body), true);
    const without = await request(port, head('HEAD', '/'));
    same('status of HEAD', without.status, 200);
    same('length of HEAD', without.headers['content-length'],
      get.headers['content-length']);
    same('body of HEAD', without.body, '');
    same('a query', (await request(port, head('GET', '/?x=1'))).status, 200);
  });
  await report.run('404 for everything else', async () => {
    for (const target of ['/nope', '/chat', '/chat/', '/index.html']) {
      same(target, (await request(port, head('GET', target))).status, 404);
    }
    same('HEAD', (await request(port, head('HEAD', '/nope'))).status, 404);
    same('an upgrade elsewhere',
      (await request(port, upgrade(port, '/nope'))).status, 404);
  });
  await report.run('an upgrade from a foreign page is refused', async () => {
    for (const origin of ['http://evil.example', 'null', 'http://127.0.0.1',
      `http://127.0.0.1:${port}.evil.example`, `http://x127.0.0.1:${port}`,
      `127.0.0.1:${port}`]) {
      same(`status for ${origin}`,
        (await request(port, upgrade(port, '/chat', origin))).status, 403);
    }
  });
  await report.run('its own page and no page are let in', async () => {
    for (const origin of [`http://127.0.0.1:${port}`,
      `https://127.0.0.1:${port}`, undefined]) {
      const raw = new Raw(port, origin);
      raw.send('somebody');
      await raw.find('you', (m) => m[0] === 'you' && m[2] === 'somebody');
      same('status', raw.status, 101);
      raw.end();
    }
  });
}

// A page from elsewhere, in a real browser.
async function foreignPage(browser, port) {
  const other = http.createServer((_, answer) => {
    answer.end('<!doctype html><title>elsewhere</title>');
  });
  await new Promise((done) => { other.listen(0, '127.0.0.1', done); });
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${other.address().port}/`);
  const outcome = await page.evaluate((url) => new Promise((done) => {
    const socket = new WebSocket(url);
    socket.onopen = () => done('open');
    socket.onerror = () => done('error');
  }), `ws://127.0.0.1:${port}/chat`);
  await page.close();
  other.close();
  same('the connection', outcome, 'error');
}

// ------------------------------------------- what a page would never send

async function rawCases(port) {
  const enter = async (name) => {
    const raw = new Raw(port);
    raw.send(name);
    raw.you = await raw.find('you', (m) => m[0] === 'you');
    return raw;
  };
  const witness = await enter('witness');
  await report.run('a name has no tabs and cannot be forged', async () => {
    const eve = await enter('Eve\tsays\t1\n');
    same('name', eve.you.slice(2), ['Eve says 1 ', '']);
    eve.send('a\nsays\t1\twitness\tforged');
    same('number and name', (await witness.says(
      'a\nsays\t1\twitness\tforged')).slice(1, 3), eve.you.slice(1, 3));
    eve.end();
    await witness.find('left', (m) => m[0] === 'left'
      && m[1] === eve.you[1]);
  });
  await report.run('a long name is cut between characters', async () => {
    for (const [unit, sent, kept] of [['a', 63, 63], ['a', 64, 63],
      ['\u00e9', 40, 31], ['\u6f22', 1000, 21], ['\u{1F600}', 16, 15]]) {
      const raw = await enter(unit.repeat(sent));
      same('name', raw.you[2], unit.repeat(kept));
      raw.end();
    }
  });
  await report.run('4,096 bytes are taken, 4,097 are not', async () => {
    const raw = await enter('long');
    raw.send('x'.repeat(4096));
    await witness.says('x'.repeat(4096));
    raw.send('x'.repeat(4097));
    await raw.closed(1009);
    raw.end();
  });
  await report.run('binary is refused, empty text is harmless', async () => {
    const raw = new Raw(port);
    raw.send('');
    raw.send('binary');
    await raw.find('you', (m) => m[0] === 'you' && m[2] === 'binary');
    raw.send('');
    raw.send('behind nothing');
    same('what follows joining', await witness.find('says',
      (m) => m[0] === 'says').then((m) => m[3]), 'behind nothing');
    raw.send([1, 2, 3], 2);
    await raw.closed(1003);
    raw.end();
    const nameless = new Raw(port);
    nameless.send('nobody', 2);
    await nameless.closed(1003);
    nameless.end();
  });
  await report.run('a reader that stops is dropped, others are not',
    async () => {
      const slow = await enter('slow');
      slow.socket.pause();
      const talker = await enter('talker');
      let gone = false;
      // The system's own buffers are filled first; in rounds, so that the
      // others, who are in this process too, do not fall behind as well.
      for (let round = 0; !gone; round++) {
        if (round === 1000) fail('"left" for the slow one', '64 MiB taken');
        const text = String(round).padEnd(4096, '.');
        for (let i = 0; i < 15; i++) talker.send('.'.repeat(4096));
        talker.send(text);
        await talker.says(text);
        await witness.find(text, (m) => {
          if (m[0] === 'left' && m[2] === 'slow') gone = true;
          return m[3] === text;
        });
      }
      talker.send('still here');
      await witness.says('still here');
      slow.end();
      talker.end();
    });
  witness.end();
}

// ------------------------------------------------------- pages that talk

// Returns the server that is there in the end.
async function pageCases(browser, chat, port) {
  await report.run('a foreign page in the browser is refused',
    () => foreignPage(browser, port));
  const [ada, grace] = [await open(browser, port), await open(browser, port)];
  await report.run('two pages talk and see each other', async () => {
    same('placeholder', await ada.getAttribute('#box', 'placeholder'),
      'Your name');
    await type(ada, 'Ada');
    await last(ada, '', 'Ada', ' joined');
    await status(ada, 'connected');
    await type(grace, 'Grace');
    await last(ada, '', 'Grace', ' joined');
    await last(grace, '', 'Grace', ' joined');
    await here(ada, ['Ada', 'Grace']);
    await here(grace, ['Ada', 'Grace']);
    await type(ada, 'hello');
    await last(grace, 'says', 'Ada', 'hello');
    await last(ada, 'says me', 'Ada', 'hello');
    await type(grace, 'hello yourself');
    await last(ada, 'says', 'Grace', 'hello yourself');
    await last(grace, 'says me', 'Grace', 'hello yourself');
  });
  await report.run('any character arrives', async () => {
    for (const text of ['\u{1F600}\u{1F44D}\u{1F3FD}', '\u00efve \u6f22\u5b57',
      'a\tb', '\u05d0\u05d1', '"quoted" \\n &amp; %s']) {
      await type(ada, text);
      await last(grace, 'says', 'Ada', text);
    }
  });
  await report.run('HTML stays text', async () => {
    const text = '<img src=x onerror="document.title=1"><b>bold</b>';
    await type(grace, text);
    await last(ada, 'says', 'Grace', text);
    same('images', await ada.locator('img').count(), 0);
    same('title', await ada.title(), 'wsock chat');
  });
  await report.run('the longest line that the page takes', async () => {
    const text = '\u6f22'.repeat(1000);
    await type(ada, text);
    await last(grace, 'says', 'Ada', text);
    same('scrolled to its end', await grace.evaluate(() => {
      const list = document.getElementById('list');
      return list.scrollHeight - list.scrollTop - list.clientHeight < 2;
    }), true);
  });
  await report.run('a refresh is seen as leaving and joining', async () => {
    await grace.reload();
    await last(ada, '', 'Grace', ' joined');
    same('the row before', await ada.evaluate(() => document.querySelector(
      'li:last-child').previousSibling.textContent.replace(/#\d+/, '')),
    'Grace left');
    await here(ada, ['Ada', 'Grace']);
    await here(grace, ['Ada', 'Grace']);
    await type(grace, 'back again');
    await last(ada, 'says', 'Grace', 'back again');
  });
  await report.run('the page comes back when the server does', async () => {
    const raw = new Raw(port); // never answers the Close
    raw.send('raw');
    await last(ada, '', 'raw', ' joined');
    await chat.end('SIGTERM');
    await raw.closed(1001);
    raw.end();
    await status(ada, 'disconnected');
    await here(ada, []);
    await type(ada, 'kept');
    same('the line', await ada.inputValue('#box'), 'kept');
    chat = new Chat('--port', String(port));
    same('port', await chat.listening, port);
    await status(ada, 'connected');
    await here(ada, ['Ada', 'Grace']);
    await here(grace, ['Ada', 'Grace']);
    await ada.keyboard.press('Enter');
    await last(grace, 'says', 'Ada', 'kept');
  });
  await report.run('one leaves', async () => {
    await grace.context().close();
    await last(ada, '', 'Grace', ' left');
    await here(ada, ['Ada']);
    await ada.context().close();
  });
  return chat;
}

// A window in light and one in dark, side by side.
async function conversation(browser, port, file) {
  const look = (colorScheme) => ({ colorScheme,
    viewport: { width: 600, height: 750 } });
  const pages = {
    Ada: await open(browser, port, look('light')),
    Linus: await open(browser, port, look('dark')),
    'Zo\u00eb': await open(browser, port, look('dark')),
  };
  for (const [name, page] of Object.entries(pages)) {
    await type(page, name);
    await status(page, 'connected');
    await last(pages.Ada, '', name, ' joined');
  }
  const lines = [
    ['Ada', 'Who serves this page?'],
    ['Linus', 'The chat itself: one C program, one port.'],
    ['Zo\u00eb', 'chat.c and wsock.h, and nothing to install \u{1F642}'],
    ['Ada', 'What does the server do with a line?'],
    ['Linus', 'One wsock_broadcast(): framed once, shared by everyone.'],
    ['Zo\u00eb', '\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac, '
      + 'r\u00e9sum\u00e9, \u{1F680}: all text is checked to be UTF-8.'],
    ['Ada', 'I like it \u{1F44D}'],
  ];
  for (const [name, text] of lines) {
    await type(pages[name], text);
    for (const [other, page] of Object.entries(pages)) {
      await last(page, other === name ? 'says me' : 'says', name, text);
    }
  }
  const shots = [];
  for (const name of ['Ada', 'Linus']) {
    shots.push((await pages[name].screenshot({ caret: 'hide' }))
      .toString('base64'));
  }
  const sheet = await browser.newPage(
    { viewport: { width: 1200, height: 750 } });
  await sheet.setContent('<body style="margin:0;display:flex">'
    + shots.map((data) => `<img src="data:image/png;base64,${data}">`)
      .join(''));
  await sheet.waitForFunction(() => [...document.images].every(
    (i) => i.complete && i.naturalWidth === 600));
  await sheet.screenshot({ path: file });
  await sheet.close();
  for (const page of Object.values(pages)) await page.context().close();
}

async function optionCases(port) {
  await report.run('a port that is taken is an error', async () => {
    const second = new Chat('--port', String(port));
    second.listening.catch(() => {});
    same('exit status', await within(second.ended, 'an end'), 1);
    same('its line', /^chat: .+\n$/.test(second.stderr), true);
  });
  await report.run('unknown options are an error', async () => {
    for (const options of [['--port'], ['--what', '1']]) {
      const wrong = new Chat(...options);
      wrong.listening.catch(() => {});
      same('exit status', await within(wrong.ended, 'an end'), 2);
    }
  });
}

// Each group has a server of its own, which has to end well.
async function group(name, signal, cases) {
  let chat = new Chat('--port', '0');
  try {
    chat = await cases(await chat.listening, chat) || chat;
    await report.run(`${name}: ${signal} ends the server`,
      () => chat.end(signal));
  } catch (error) {
    await report.run(name, () => { throw error; });
  } finally {
    chat.child.kill('SIGKILL');
  }
}

async function main() {
  let browser;
  await group('HTTP', 'SIGINT', httpCases);
  await group('protocol', 'SIGTERM', rawCases);
  await group('options', 'SIGTERM', optionCases);
  try {
    browser = await chromium.launch({ headless: true,
      executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
      args: ['--no-sandbox', '--disable-gpu', '--disable-quic',
        '--no-first-run', '--disable-background-networking',
        '--disable-component-update', '--disable-sync'] });
    await group('pages', 'SIGTERM',
      (port, chat) => pageCases(browser, chat, port));
    if (picture) {
      await group('picture', 'SIGINT', (port) => report.run(
        'three voices, and their picture',
        () => conversation(browser, port, picture)));
    }
    await report.run('the pages never complained', async () => {
      same('complaints', complaints, []);
    });
  } catch (error) {
    await report.run('the browser', () => { throw error; });
  } finally {
    if (browser) await browser.close();
  }
  report.end();
}

main();
