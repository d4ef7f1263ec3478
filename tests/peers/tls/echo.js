// echo.js server CERT KEY | client URL CA: node's ws over TLS.
const fs = require('fs')
const https = require('https')
const path = require('path')
const WebSocket = require(path.join(__dirname, '../../.work/node_modules/ws'))
const [role, a, b] = process.argv.slice(2)

if (role === 'server') {
  const server = https.createServer({
    cert: fs.readFileSync(a), key: fs.readFileSync(b) })
  new WebSocket.Server({ server }).on('connection', ws =>
    ws.on('message', (data, binary) => ws.send(data, { binary })))
  server.listen(0, '127.0.0.1', () => console.log(server.address().port))
} else {
  const ws = new WebSocket(a, { ca: fs.readFileSync(b) })
  const data = 'x'.repeat(300000)
  ws.on('open', () => ws.send(data))
  ws.on('message', got => {
    console.log(got.toString() === data ? 'same' : 'different')
    ws.close(1000)
  })
  ws.on('close', code => console.log('closed', code))
  ws.on('error', e => { console.log(e.message); process.exit(1) })
}
