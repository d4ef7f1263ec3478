// wss.js CERT KEY - an echo server by npm's ws on node's https.
'use strict';
const fs = require('fs');
const https = require('https');
const { WebSocketServer } = require('ws');

const server = https.createServer({
    cert: fs.readFileSync(process.argv[2]),
    key: fs.readFileSync(process.argv[3]),
});
new WebSocketServer({ server, perMessageDeflate: false, maxPayload: 0 })
    .on('connection', (socket) => {
        socket.on('error', () => {});
        socket.on('message', (data, binary) => socket.send(data, { binary }));
    });
server.listen({ host: '127.0.0.1', port: 0, backlog: 1024 }, () =>
    console.log(`wss://127.0.0.1:${server.address().port}/`));
