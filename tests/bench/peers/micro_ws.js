// micro_ws.js - the loops of npm's ws, as it chooses them: by bufferutil and
// by node's own isUtf8 where they are there; see ../micro.h.
'use strict';
const path = require('path');
const lib = path.join(path.dirname(require.resolve('ws')), 'lib');
const { unmask } = require(path.join(lib, 'buffer-util.js'));
const { isValidUTF8 } = require(path.join(lib, 'validation.js'));
const { Receiver } = require('ws');

const sizes = [16, 125, 1024, 16384];
const sentence = 'Как дела? Всё хорошо. ';
const key = Buffer.from([0x37, 0xfa, 0x21, 0x3d]);

// Seconds for one call of `work`.
function cost(work, n) {
    const times = Math.floor((8 << 20) / n) + 1;
    let best = 1e9;
    for (let turn = 0; turn < 9; turn++) {
        const since = process.hrtime.bigint();
        for (let i = 0; i < times; i++) work();
        best = Math.min(best, Number(process.hrtime.bigint() - since) / 1e9);
    }
    return best / times;
}

function rate(what, n, work) {
    console.log(`ws ${what}-${n} ${(n / cost(work, n) / 1e9).toFixed(3)}`);
}

function check(data) {
    if (!isValidUTF8(data)) throw new Error('refused');
}

function frames(size) {
    const head = size < 126 ? [0x82, 0x80 | size]
        : [0x82, 0xfe, size >> 8, size & 255];
    const one = Buffer.concat([Buffer.from(head), key,
        Buffer.alloc(size, 'a')]);
    const n = Math.floor(65536 / one.length);
    return { n, batch: Buffer.concat(Array(n).fill(one)) };
}

function parse(size) {
    const receiver = new Receiver({ isServer: true });
    const { n, batch } = frames(size);
    let got = 0;
    receiver.on('message', () => got++);
    const seconds = cost(() => {
        got = 0;
        receiver.write(batch);
        if (got !== n) throw new Error('not all were read');
    }, batch.length);
    console.log(`ws parse-${size} ${(seconds / n * 1e9).toFixed(3)}`);
}

for (const n of sizes) {
    const ascii = Buffer.alloc(n, 'a'), cjk = Buffer.alloc(n, ' ');
    cjk.fill('\u6f22', 0, n - n % 3);
    const cyrillic = Buffer.alloc(n, ' '), m = Buffer.byteLength(sentence);
    cyrillic.fill(sentence, 0, n - n % m);
    rate('mask', n, () => unmask(ascii, key));
    ascii.fill('a');
    rate('ascii', n, () => check(ascii));
    rate('cjk', n, () => check(cjk));
    rate('cyrillic', n, () => check(cyrillic));
}
for (const n of sizes.slice(0, 3)) parse(n);
