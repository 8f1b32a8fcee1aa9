// A certified OpenID Provider whose people, keys and tokens a test can change while it runs.
//
// node provider.mjs PORT CONTROL_PORT CLIENTS: listens on 127.0.0.1 and says "ready" on standard output.
// CLIENTS is JSON. POST JSON to the control port: {"accounts": {...}}, {"rotate": true}, {"mangle": {...}}.
import { createServer } from 'node:http';
import { generateKeyPairSync, randomUUID } from 'node:crypto';

import { decodeJwt, importJWK, SignJWT } from 'jose';
import Provider from 'oidc-provider';

const [port, controlPort, clients] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const state = { accounts: {}, mangle: null, fetches: 0, requests: 0 };
let key;
let handle;

function renew() {
  key = { ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'RS256' };
  const provider = new Provider(issuer, {
    clients: JSON.parse(clients),
    jwks: { keys: [key] },
    cookies: { keys: ['only a test'] },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'], groups: ['groups'] },
    scopes: ['openid', 'email', 'profile', 'groups'],
    pkce: { required: () => true },
    features: { devInteractions: { enabled: true } },
    findAccount: (ctx, id) => state.accounts[id] && { accountId: id, claims: () => ({ sub: id, ...state.accounts[id] }) },
  });
  provider.use(async (ctx, next) => {
    await next();
    if (ctx.path === '/jwks') state.fetches += 1;
    if (ctx.path === '/token' && state.mangle && ctx.body && ctx.body.id_token) {
      ctx.body = { ...ctx.body, id_token: await mangled(ctx.body.id_token) };
    }
  });
  handle = provider.callback();
}

// Sign other claims with the real key: what a provider gone wrong, or another one, would send.
async function mangled(token) {
  const claims = { ...decodeJwt(token), ...state.mangle };
  return new SignJWT(claims).setProtectedHeader({ alg: 'RS256', kid: key.kid }).sign(await importJWK(key, 'RS256'));
}

renew();
createServer((request, response) => { state.requests += 1; handle(request, response); }).listen(Number(port), '127.0.0.1', () => {
  createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const { rotate, ...rest } = JSON.parse(Buffer.concat(parts).toString() || '{}');
    Object.assign(state, rest);
    if (rotate) renew();
    response.end(JSON.stringify({ fetches: state.fetches, requests: state.requests }));
  }).listen(Number(controlPort), '127.0.0.1', () => console.log('ready'));
});
// Whoever started this is gone when its end of the pipe is.
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
