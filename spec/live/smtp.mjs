// SPDX-License-Identifier: Apache-2.0
// An administrator sets the mail server: a real SMTP server with STARTTLS and sign-in gets the test mail and all later ones.
//   node spec/live/smtp.mjs
import { call, check, main, package_of, Server, until } from "./lib.mjs";

const { SMTPServer } = await package_of("smtp-server");

/** {port, mails, close()}: takes mail from who signs in as mailer / s3cret pass; bounce@ is refused for good. */
async function peer(options = {}) {
  const mails = [];
  const server = new SMTPServer({
    authOptional: false, allowInsecureAuth: false, logger: false, ...options,
    onAuth: (auth, _, done) => auth.username === "mailer" && auth.password === "s3cret pass" ? done(null, { user: "mailer" }) : done(new Error("no such user")),
    onRcptTo: ({ address }, _, done) => address.startsWith("bounce@") ? done(Object.assign(new Error("nobody of that name"), { responseCode: 550 })) : done(),
    onData: (stream, session, done) => {
      const parts = [];
      stream.on("data", d => parts.push(d));
      stream.on("end", () => { mails.push({ text: Buffer.concat(parts).toString(), to: session.envelope.rcptTo[0].address, secure: session.secure }); done(); });
    },
  });
  server.on("error", () => {}); // a client that hangs up
  await new Promise(r => server.listen(0, "127.0.0.1", r));
  return { port: server.server.address().port, mails, close: () => new Promise(r => server.close(r)) };
}

await main(async () => {
  const s = await new Server({ web_workers: 1, job_workers: 1 }).start();
  const admin = await s.admin(), smtp = await peer();
  const good = { host: "127.0.0.1", port: smtp.port, username: "mailer", password: "s3cret pass", from_email: "shop@example.org",
    from_name: "The shop", use_tls: true, enabled: true };

  let r = await admin.get("/admin/smtp");
  check("at first nothing is set", r.status === 200 && r.json.smtp.enabled === false && r.json.smtp.host === "" && r.json.otherwise === "outbox", r.text);
  check("it is nobody else's business", (await call(s.port, "GET", "/admin/smtp")).status === 401);
  r = await admin.post("/admin/smtp", { ...good, host: "" });
  check("switched on without a host is refused", r.status === 422 && /host/.test(r.json.error), r.text);
  r = await admin.post("/admin/smtp", { ...good, from_name: 'x" <evil@example.org>\r\nBcc: a@b.c' });
  check("a name cannot add headers", r.status === 422, r.text);

  r = await admin.post("/admin/smtp", { ...good, test_email: "me@example.org" });
  check("the test mail is sent", r.json?.saved === true && r.json.test_sent === true, r.text);
  check("over TLS, from the given sender", smtp.mails.length === 1 && smtp.mails[0].secure && /From: The shop <shop@example.org>/.test(smtp.mails[0].text), JSON.stringify(smtp.mails));
  r = await admin.get("/admin/smtp");
  check("the password never comes back", r.json.smtp.password === "" && r.json.smtp.has_password === true && !r.text.includes("s3cret"), r.text);
  const [[stored]] = await s.sql("select value::text from settings where key = 'smtp'");
  check("and is sealed in the database", !stored.includes("s3cret"), stored);
  check("nor is it in the audit log", !(await s.sql("select detail::text from audit_log")).join().includes("s3cret"));

  r = await admin.post("/admin/smtp", { ...good, password: "", test_email: "me@example.org" });
  check("an empty password keeps the old one", r.json.test_sent === true, r.text);
  r = await admin.post("/admin/smtp", { ...good, password: "wrong", test_email: "me@example.org" });
  check("a wrong password is told", r.status === 200 && r.json.test_sent === false && r.json.test_error.length > 0, r.text);
  r = await admin.post("/admin/smtp", { ...good, test_email: "bounce@example.org" });
  check("a refusal is told", r.json.test_sent === false && /550|nobody/.test(r.json.test_error), r.text);

  const before = smtp.mails.length, user = await s.user("forgetful");
  r = await call(s.port, "POST", "/auth/forgot", { json: { email: user.email }, headers: { origin: s.url } });
  await until("the reset mail arrives", () => smtp.mails.slice(before).find(m => m.to === user.email));
  check("queued mail goes there too", r.status === 200, r.text);

  await smtp.close();
  r = await admin.post("/admin/smtp", { ...good, password: "", test_email: "me@example.org" });
  check("a server that is away is told", r.json.test_sent === false && r.json.test_error.length > 0, r.text);

  const plain = await peer({ hideSTARTTLS: true, allowInsecureAuth: true });
  r = await admin.post("/admin/smtp", { ...good, password: "", port: plain.port, test_email: "me@example.org" });
  check("without TLS nothing is sent when it is demanded", r.json.test_sent === false && plain.mails.length === 0, r.text);
  r = await admin.post("/admin/smtp", { ...good, password: "", port: plain.port, use_tls: false, test_email: "me@example.org" });
  check("inside this machine it may be switched off", r.json.test_sent === true && plain.mails.length === 1, r.text);
  await plain.close();
  check("the log holds no password", !/s3cret|wrong"/.test(s.log()));
});
