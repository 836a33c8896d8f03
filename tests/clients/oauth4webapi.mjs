// oauth4webapi against a running authorization server, by its metadata alone.
//
// Standard input: a line of JSON with what the client is. Then, for each line {"visit": URL} on standard output, a line with
// the URL that the person at the browser was sent back to. The last line of output is {"done": [what was done]}.
import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import * as oauth from "oauth4webapi";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const read = async () => (await lines.next()).value;
const say = (message) => console.log(JSON.stringify(message));
const given = JSON.parse(await read());
const insecure = { [oauth.allowInsecureRequests]: true };
const done = [];

const issuer = new URL(given.issuer);
const as = await oauth.processDiscoveryResponse(
  issuer,
  await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...insecure }),
);
done.push("discovery");

async function introspect(client, auth, token) {
  const response = await oauth.introspectionRequest(as, client, auth, token, insecure);
  return oauth.processIntrospectionResponse(as, client, response);
}

async function revoke(client, auth, token) {
  await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, auth, token, insecure));
}

async function check(token) {
  // RFC 9068, by the published keys.
  const request = new Request(given.api, { headers: { authorization: `Bearer ${token}` } });
  return oauth.validateJwtAccessToken(as, request, given.audience, { ...insecure });
}

async function call(token) {
  const response = await oauth.protectedResourceRequest(token, "GET", new URL(given.api), undefined, undefined, insecure).catch(
    (error) => error.response ?? Promise.reject(error),
  );
  return response.status;
}

const web = { client_id: given.web.client_id };
const basic = oauth.ClientSecretBasic(given.web.client_secret);
const post = oauth.ClientSecretPost(given.web.client_secret);
const key = await crypto.subtle.importKey(
  "pkcs8",
  Buffer.from(given.private_key, "base64"),
  { name: "ECDSA", namedCurve: "P-256" },
  false,
  ["sign"],
);

for (const [name, client, auth] of [
  ["client_secret_basic", web, basic],
  ["client_secret_post", web, post],
  ["private_key_jwt", { client_id: given.signer }, oauth.PrivateKeyJwt(key)],
  ["client_secret_jwt", { client_id: given.keyed.client_id }, oauth.ClientSecretJwt(given.keyed.client_secret)],
]) {
  assert(as.token_endpoint_auth_methods_supported.includes(name), name);
  const response = await oauth.clientCredentialsGrantRequest(as, client, auth, { scope: "orders:read" }, insecure);
  const tokens = await oauth.processClientCredentialsResponse(as, client, response);
  const claims = await check(tokens.access_token);
  assert.equal(claims.client_id, client.client_id);
  assert.equal(await call(tokens.access_token), 200);
  done.push(`client_credentials by ${name}`);
}

async function authorize(client, auth) {
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const url = new URL(as.authorization_endpoint);
  assert(as.code_challenge_methods_supported.includes("S256"));
  for (const [name, value] of Object.entries({
    client_id: client.client_id,
    redirect_uri: given.callback,
    response_type: "code",
    scope: "orders:read",
    state,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
  }))
    url.searchParams.set(name, value);
  say({ visit: url.href });
  // Looks at state and, since the metadata says that it is there, at iss (RFC 9207).
  const parameters = oauth.validateAuthResponse(as, client, new URL(await read()), state);
  const response = await oauth.authorizationCodeGrantRequest(as, client, auth, parameters, given.callback, verifier, insecure);
  return oauth.processAuthorizationCodeResponse(as, client, response);
}

for (const [name, client, auth] of [
  ["a confidential client", web, basic],
  ["a public client", { client_id: given.app }, oauth.None()],
]) {
  const first = await authorize(client, auth);
  assert.equal((await check(first.access_token)).sub, given.username);
  assert.equal(await call(first.access_token), 200);
  const response = await oauth.refreshTokenGrantRequest(as, client, auth, first.refresh_token, insecure);
  const second = await oauth.processRefreshTokenResponse(as, client, response);
  assert.notEqual(second.refresh_token, first.refresh_token);
  assert.equal(await call(second.access_token), 200);
  const said = await introspect(web, basic, second.access_token);
  assert.deepEqual([said.active, said.sub, said.client_id], [true, given.username, client.client_id]);
  assert.equal((await introspect(web, basic, second.refresh_token)).active, true);
  await revoke(client, auth, second.refresh_token);
  assert.deepEqual(await introspect(web, basic, second.access_token), { active: false });
  assert.equal(await call(second.access_token), 401);
  await assert.rejects(
    oauth.processRefreshTokenResponse(
      as,
      client,
      await oauth.refreshTokenGrantRequest(as, client, auth, second.refresh_token, insecure),
    ),
    { error: "invalid_grant" },
  );
  done.push(`authorization_code, refresh, introspection and revocation for ${name}`);
}

await assert.rejects(
  oauth.processClientCredentialsResponse(
    as,
    web,
    await oauth.clientCredentialsGrantRequest(as, web, oauth.ClientSecretPost("wrong"), {}, insecure),
  ),
  (error) => error.error === "invalid_client" || error.code === oauth.WWW_AUTHENTICATE_CHALLENGE,
);
done.push("errors");
say({ done });
process.exit(0);
