// SPDX-License-Identifier: Apache-2.0
// Watch page: price, one Buy button, then the film, without leaving the page.
import { get, newKey, pay, post, query, rupiah, signInUrl } from "./api.js";
import { nav } from "./nav.js";
import { codesBox } from "./codes.js";
import { consentBox } from "./consent.js";
import { film, price } from "./film.js";
import { choice, currencies, rentalText, terms, verb } from "./offers.js";
import { createPlayer } from "./player.js";
import { previewOf } from "./preview.js";
import { $, badge, busy, clock, date, empty, failToast, field, fill, h, icon, invalid, money, notice, params, problem, sentence, skeletonLines } from "./ui.js";

const id = params.get("video_id") || params.get("id") || "";
const stage = $("#stage"), panel = $("#panel"), head = $("#head"), about = $("#about");
const ref = keptRef();
let user = null, video = null, options = null, player = null, playing = null, stopped = false;
let chosen = "purchase"; // which of options.offers
let from = null; // where the preview was when the film was bought

// The affiliate's name survives signing in and topping up.
function keptRef() {
  const given = params.get("ref");
  try {
    if (given) sessionStorage.setItem("ref:" + id, given);
    return given || sessionStorage.getItem("ref:" + id) || "";
  } catch { return given || ""; }
}
function here() { return "/public/watch.html" + query({ video_id: id, ref }); }

function cover(...veil) {
  const img = video.poster && h("img", { class: "cover", src: video.poster, alt: "" });
  if (img) img.addEventListener("error", () => img.remove());
  fill(stage, img || h("div", { class: "cover poster" }), h("div", { class: "veil" }, ...veil));
}

function mayWatch() {
  if (!user) return false;
  return !!(video.access || options?.access || options?.already_purchased);
}

async function playback() {
  return get("/api/request_play", { video_id: id });
}

// Credits do not count: who saw this much has seen it, and starts anew.
function nearEnd(seconds) { return !!video.seconds && seconds > video.seconds * 0.95; }

function remember(seconds, leaving, played) {
  post(`/api/videos/${id}/progress`, { position_ms: Math.round(seconds * 1000), watched_ms: Math.round(Math.min(600, played) * 1000), completed: nearEnd(seconds) },
    { keepalive: leaving }).catch(() => {});
  if (leaving && playing) {
    post("/api/playback/stop", { session: playing }, { keepalive: true }).catch(() => {});
    stopped = true;
  }
}
// Back from the browser's page cache: the session was given up on leaving.
window.addEventListener("pageshow", (e) => { if (e.persisted && stopped) location.reload(); });

async function start(button) {
  const open = async () => {
    const session = await playback();
    const at = (session.resume_ms || 0) / 1000;
    playing = session.session;
    if (session.access_ends_at) {
      video.rental = { ...video.rental, started: true, ends_at: session.access_ends_at };
      tellRental();
    }
    player = createPlayer(stage, {
      playlist: session.playlist, title: video.title, chapters: video.chapters, poster: video.poster, viewer: session.viewer || user.username, duration: video.seconds,
      startAt: from ?? (nearEnd(at) ? 0 : at),
      onProgress: remember,
      // Another place took over, access was taken back: starting again by itself would fight with that.
      ended: async () => {
        try {
          const r = await get("/api/playback/state", { session: playing });
          if (r.playing || r.reason === "expired" || r.reason === "closed") return null;
          return r.reason === "limit" ? { text: r.message, action: "Watch here" } : { text: r.message, action: "Back to the video", href: here() };
        } catch (e) {
          return e.needsSignIn ? { text: "You were signed out, so playback stopped.", action: "Sign in", href: signInUrl(here()) } : null;
        }
      },
      renew: async () => {
        const fresh = await playback();
        playing = fresh.session;
        return fresh.playlist;
      },
    });
    from = null;
    window.player = player;
    await player.start(true);
  };
  const failed = (error) => cover(h("div", { class: "narrow" }, problem(error, () => start(null))));
  player?.destroy();
  player = null;
  if (button) return busy(button, open, failed);
  cover(h("span", { class: "spinner-border", role: "status", "aria-label": "Starting" }));
  try { return await open(); } catch (error) { return failed(error); }
}

function readyToPlay() {
  const button = h("button", { type: "button", class: "bigplay", id: "play", "aria-label": `Play ${video.title}`, onclick: () => start(button) }, icon("play", 44));
  cover(button);
}

// What stands in the picture after the free preview.
function offer() {
  const text = video.price_cents > 0 ? "Buy to go on" : "Sign in to go on";
  const buy = user ? h("button", { type: "button", class: "btn btn-brand", onclick: toBuy }, text)
    : h("a", { class: "btn btn-brand", href: signInUrl(here()) }, text);
  return h("div", { class: "offer", id: "offer" }, h("p", { class: "mb-2" }, "This was the free preview."),
    h("div", { class: "d-flex flex-wrap gap-2 justify-content-center" }, buy,
      h("button", { type: "button", class: "btn btn-outline-light", onclick: () => player.video.play() }, "See it again")));
}

async function toBuy() {
  if (document.fullscreenElement) await document.exitFullscreen();
  panel.scrollIntoView({ block: "nearest" });
  const next = $("#buy", panel) || $("#top-up", panel) || $("button", panel);
  next?.focus();
  if (next?.id === "buy") next.click();
}

let previewed = false;
async function showPreview() {
  if (previewed) return;
  previewed = true;
  try {
    const preview = await previewOf(video);
    if (mayWatch()) return;
    player = createPlayer(stage, { ...preview, finished: offer, quiet: true });
    player.box.append(badge("Free preview", "dark preview-badge"));
    window.player = player;
    await player.start(!matchMedia("(prefers-reduced-motion: reduce)").matches && !navigator.connection?.saveData);
  } catch (error) {
    console.debug("preview", error);
    locked();
  }
}

function locked() {
  if (user) cover(h("span", {}, icon("lock", 44), h("span", { class: "visually-hidden" }, "Buy to watch")));
  else cover(h("a", { class: "bigplay", href: signInUrl(here()), "aria-label": "Sign in to watch" }, icon("play", 44)));
}

// The creator sees what is encoded so far, as it grows.
async function early() {
  const playlist = `/api/videos/${id}/early/master.m3u8`;
  for (;;) {
    const response = await fetch(playlist, { credentials: "same-origin" }).catch(() => null);
    if (response?.ok) break;
    if (response && response.status !== 409) return;
    await new Promise((resolve) => { setTimeout(resolve, 2000); });
  }
  player = createPlayer(stage, { playlist, title: video.title, viewer: user.username, duration: video.seconds, finished: () => h("p", {}, "The end"),
    renew: async () => playlist });
  const note = badge("Still being prepared", "dark preview-badge");
  player.box.append(note);
  window.player = player;
  await player.start(false);
  player.hls?.on("hlsLevelUpdated", (_, { details }) => { if (!details.live) note.remove(); });
}

function notReady() {
  if (user && video.owner_id === user.id && video.state !== "failed") early().catch((error) => console.debug("early", error));
  cover(h("div", {}, h("span", { class: "spinner-border mb-3", "aria-hidden": "true" }), h("p", { class: "mb-0" },
    video.state === "failed" ? "This video could not be prepared." : "This video is being prepared. Come back in a few minutes.")));
}

// ---- the panel

// The price, and what it is in rupiah when the site knows the rate.
function priceTag() {
  const about = h("div", { class: "text-body-secondary mb-2 amount" });
  const { price_cents: cents, currency } = sale() || video;
  rupiah(cents, currency).then((text) => { if (text) about.textContent = `about ${text}`; else about.remove(); });
  const o = sale();
  return [o && currencies(o, refresh), h("div", { class: "price amount", id: "price" }, o ? money(o.price_cents, o.currency) : price(video)), o?.prices.IDR ? null : about];
}

// The offers that would give something, and the one that is chosen.
function onSale() { return (options?.offers || []).filter((o) => (params.has("gift") ? o.offer === "purchase" : !o.owned)); }
function sale() { return onSale().find((o) => o.offer === chosen) || onSale()[0]; }
function choose() {
  return choice(onSale(), sale(), (o) => {
    chosen = o.offer;
    draw();
    $(`#offers [value="${o.offer}"]`)?.focus();
  });
}

// How the rental stands, kept true while the page is open.
function tellRental() {
  const el = $("#rental-left");
  if (el && video.rental) el.textContent = rentalText(video.rental);
}
setInterval(tellRental, 30000);

let keeping = false;
function rentedPanel() {
  const body = buyBody();
  fill(panel, h("div", { class: "card-body" }, h("p", { class: "mb-2", id: "rental-left" }, rentalText(video.rental)),
    h("a", { class: "btn btn-outline-secondary", href: "/public/library.html" }, "My library"),
    onSale().length > 0 && h("details", { class: "mt-3", id: "keep", open: keeping, ontoggle: (e) => { keeping = e.target.open; } }, h("summary", {}, "Keep it for good"), h("div", { class: "mt-2" }, body))));
}

function ownedPanel() {
  const owner = video.owner_id === user.id;
  if (video.access === "rental" && video.rental) return rentedPanel();
  const why = owner ? "This is your video." : { free: "This video is free.", purchase: "You own this video. It is in your library.",
    bundle: "You own this video, from a bundle. It is in your library.",
    grant: "You may watch this video for free." }[video.access] || "You may watch this video.";
  return fill(panel, h("div", { class: "card-body" }, h("p", { class: "mb-2" }, why),
    owner ? h("a", { class: "btn btn-outline-secondary", href: "/public/dashboard.html" }, "Edit in my videos")
      : [h("a", { class: "btn btn-outline-secondary me-2", href: "/public/library.html" }, "My library"),
        video.price_cents > 0 && options?.offers?.some((o) => o.offer === "purchase") && h("a", { class: "btn btn-outline-secondary", id: "give", href: here() + "&gift=1" }, "Give it to somebody")]));
}

// Buying without an account: an address for the receipt is all that is asked.
function guestForm() {
  const email = h("input", { type: "email", id: "guest-email", class: "form-control", maxlength: 254, autocomplete: "email", required: true, oninput: () => invalid(email, null) });
  const consent = h("div", {}), ways = h("div", { class: "d-grid gap-2" });
  const redraw = () => fill(ways, free() ? freeButton() : [methods().map(providerButton), chainButton()]);
  consentBox(id).then((box) => { agreement = box; if (box) fill(consent, box.el); }).catch((error) => console.debug("consent", error));
  identify = async () => {
    const fine = email.value.trim() && email.checkValidity();
    invalid(email, fine ? null : "Please give the e-mail address for your receipt.");
    if (!fine) return false;
    user = (await post("/api/guest", { email: email.value.trim() })).user;
    return true;
  };
  const codesEl = codesPart(redraw);
  redraw();
  return [h("h2", { class: "h6 mt-3" }, "Buy without an account"), field("E-mail", email, "For your receipt, and a link to watch on other devices."), codesEl, consent, ways,
    h("p", { class: "small mt-2 mb-0" }, h("a", { href: "/public/guest.html" }, "Bought before? Ask for a link"))];
}

function guestPanel() {
  const form = video.price_cents > 0 && options?.guest && (methods().length || onChain()) ? guestForm() : null;
  fill(panel, h("div", { class: "card-body" }, choose(), priceTag(),
    h("p", {}, video.price_cents > 0 ? (sale() ? terms(sale()) : "Pay once, watch as often as you like.") : "Free to watch with an account."),
    h("a", { class: "btn btn-brand btn-lg w-100", id: "sign-in", href: signInUrl(here()) }, video.price_cents > 0 ? "Sign in to buy" : "Sign in to watch"),
    h("p", { class: "small mt-3 mb-0" }, "New here? ", h("a", { href: "/public/auth/register.html" + query({ return: here() }) }, "Create an account")), form));
}

// What a code takes off is told in the currency that is shown; the box stays when the panel is drawn again.
const free = () => !!codes && codes.free();
const fields = () => (codes ? codes.fields() : {});
const due = ({ price_cents: cents, currency }) => cents - (codes ? codes.off(currency) : 0);
function codesPart(again) {
  if (!sale()) return null;
  const offer = () => sale() && { offer: sale().offer, currency: sale().currency };
  if (codes) codes.sync();
  else codes = codesBox(video, { offer, code: params.get("coupon") || "", gift: params.has("gift"), changed: () => again() });
  return codes.el;
}

// Nothing is left to pay: no wallet, no provider.
function freeButton() {
  const button = h("button", { type: "button", class: "btn btn-brand btn-lg w-100", id: "free", onclick: () => busy(button, async () => {
    if (!await identify()) return;
    await post("/api/pay/free", { video_id: id, code: codes.fields().coupon });
    await bought();
  }) }, "Get it for free");
  return button;
}

function missing() {
  const w = sale().wallet;
  return Math.max(0, due(w) - w.balance_cents);
}

let codes = null, intent = null, agreement = null, identify = async () => true;
const agreed = async () => !agreement || agreement.agree();

function buyPanel() { fill(panel, h("div", { class: "card-body" }, buyBody())); }

function buyBody() {
  const o = sale(), wallet = o?.wallet, consent = h("div", {});
  const body = h("div", { "aria-live": "polite" }, choose(), o && priceTag(), codesPart(draw), consent);
  if (!o) return body;
  if (free()) {
    body.append(freeButton());
    return body;
  }
  consentBox(id).then((box) => { agreement = box; if (box) fill(consent, box.el); }).catch((error) => console.debug("consent", error));
  if (!wallet) {
    if (!methods().length && !onChain()) body.append(notice("Buying is switched off at the moment.", "warning"));
  } else if (missing() > 0) {
    body.append(h("p", { class: "mb-2" }, "In your wallet: ", h("strong", { class: "amount" }, money(wallet.balance_cents, wallet.currency))),
      h("div", { class: "alert alert-warning py-2", id: "missing" }, "You need ", h("strong", { class: "amount" }, money(missing(), wallet.currency)), " more."),
      h("a", { class: "btn btn-brand btn-lg w-100", id: "top-up", href: "/public/wallet.html" + query({ tab: "deposit", amount: missing(), return: here() }) }, "Top up your wallet"));
  } else {
    body.append(h("p", { class: "mb-3" }, "In your wallet: ", h("strong", { class: "amount" }, money(wallet.balance_cents, wallet.currency))), buyButton());
  }
  if (methods().length || onChain()) body.append(h("div", { class: "d-grid gap-2 mt-3" }, methods().map(providerButton), chainButton()));
  if (user.guest) body.append(h("p", { class: "small wrap mt-3 mb-0" }, `The receipt goes to ${user.email}.`));
  body.append(h("p", { class: "small text-body-secondary mt-3 mb-0" }, terms(o)));
  return body;
}

function methods() { return sale()?.methods || []; }
// What goes with every payment: the server compares the price that was seen, and sets its own.
function asked() { return { video_id: id, offer: sale().offer, price_cents: sale().price_cents, currency: sale().currency }; }

// One step: the order is frozen and the provider's page opens; it leads back to the order's page, and from there to the film.
function providerButton({ provider, title, price_cents: charge, currency }) {
  const other = currency !== sale().currency || charge !== sale().price_cents, left = due({ price_cents: charge, currency });
  const button = h("button", { type: "button", class: "btn btn-outline-secondary", data: { provider }, onclick: () => busy(button, async () => {
    const more = fields();
    if (!more || !await identify() || !await agreed()) return;
    const r = await pay(`/api/pay/${encodeURIComponent(provider)}/start`, { ...asked(), affiliate_ref: ref || undefined, ...more }, newKey());
    location.assign(r.invoice.payment_url || r.order_url);
  }, async (error) => {
    if (error.code === "sale.already_owned") return bought();
    return failToast(error);
  }) }, other ? `${title}: ${money(left, currency)}` : title);
  return button;
}

// From a wallet of the browser, on a page of its own.
const onChain = () => !!(sale() && options?.x402?.available);
function chainButton() {
  if (!onChain()) return null;
  const button = h("button", { type: "button", class: "btn btn-outline-secondary", id: "chain", onclick: () => busy(button, async () => {
    const more = fields();
    if (!more || !await identify() || !await agreed()) return;
    sessionStorage.setItem("chainpay", JSON.stringify({ video: id, due: money(due(sale()), sale().currency), more: { ...asked(), ...more } }));
    location.assign("/public/chainpay.html" + query({ video_id: id, ref }));
  }, failToast) }, "Pay from a crypto wallet");
  return button;
}

function buyButton() {
  const box = h("div", {}), { wallet } = sale(), amount = money(due(wallet), wallet.currency);
  const buy = h("button", { type: "button", class: "btn btn-brand btn-lg w-100", id: "buy", onclick: confirm }, `${verb(sale())} for ${amount}`);
  function confirm() {
    const yes = h("button", { type: "button", class: "btn btn-brand btn-lg flex-grow-1", id: "confirm", onclick: () => busy(yes, purchase, failed) }, `Pay ${amount} now`);
    const no = h("button", { type: "button", class: "btn btn-outline-secondary btn-lg", onclick: () => { fill(box, buy); buy.focus(); } }, "Cancel");
    fill(box, h("p", { class: "small mb-2" }, "Left in your wallet after this: ", h("strong", { class: "amount" },
      money(wallet.balance_cents - due(wallet), wallet.currency))), h("div", { class: "d-flex gap-2" }, yes, no));
    yes.focus();
  }
  async function failed(error) {
    if (error.code === "sale.already_owned") return bought();
    if (["wallet.insufficient", "sale.price_changed"].includes(error.code)) {
      intent = null;
      await refresh();
      panel.firstElementChild?.prepend(notice(sentence(error), "warning"));
      return undefined;
    }
    // The same key goes with the second try, so it cannot pay twice.
    if (!error.retry) intent = null;
    const again = h("button", { type: "button", class: "btn btn-outline-danger btn-sm mt-2", onclick: () => busy(again, purchase, failed) }, "Try again");
    fill(box, h("div", { class: "alert alert-danger", role: "alert" }, sentence(error),
      error.requestId && h("div", { class: "small opacity-75" }, "Request ", h("code", {}, error.requestId)), h("div", {}, again)));
    return undefined;
  }
  fill(box, buy);
  return box;
}

async function purchase() {
  const more = fields();
  if (!more || !await agreed()) return;
  intent = intent || newKey();
  await pay("/api/wallet/pay", { ...asked(), ref_code: ref || undefined, ...more }, intent);
  intent = null;
  if (more.gift) location.assign("/public/gift.html?bought=1");
  else await bought();
}

async function bought() {
  from = player ? player.video.currentTime : null;
  video = film((await get("/api/videos/" + encodeURIComponent(id))).video);
  options = await get("/api/pay/all_options", { video_id: id });
  ownedPanel();
  panel.firstElementChild.prepend(h("div", { class: "alert alert-success", role: "status", id: "bought" }, video.access === "grant" ? "It is yours. Enjoy the film." : "Paid. Enjoy the film."));
  // A rental's time runs from the first play: that is the viewer's own click.
  if (video.access === "rental" && !video.rental.started) {
    player?.destroy();
    player = null;
    return readyToPlay();
  }
  if (playing) return undefined; // bought while watching the rental
  if (video.state === "ready") return start(null);
  return notReady();
}

async function refresh() {
  options = await get("/api/pay/all_options", { video_id: id });
  if (options.price_cents !== undefined) video.price_cents = options.price_cents;
  draw();
}

function draw() {
  const giving = params.has("gift") && user && video.owner_id !== user.id && video.price_cents > 0 && options;
  if (mayWatch()) {
    if (giving) buyPanel(); else ownedPanel();
    if (playing) return;
    if (video.state === "ready") readyToPlay(); else notReady();
    return;
  }
  if (video.state !== "ready") {
    notReady();
    fill(panel, h("div", { class: "card-body" }, priceTag(),
      h("p", { class: "mb-0" }, "You can get it as soon as it is ready.")));
    return;
  }
  if (!video.preview_ms) locked();
  else showPreview();
  if (user) buyPanel(); else guestPanel();
}

function drawAbout() {
  document.title = video.title;
  const bio = h("p", { class: "text-body-secondary small mb-0 pre" }, video.owner_profile_desc || "");
  fill(head, h("h1", { class: "wrap mb-1" }, video.title),
    h("p", { class: "text-body-secondary mb-0" }, "by ", h("strong", {}, video.owner_name), video.seconds ? ` · ${clock(video.seconds)}` : "", " · ", date(video.created_at)));
  fill(about, video.description && h("p", { class: "pre" }, video.description), bio);
}

// Tells the server who sent this visitor; nothing on the page waits for it.
async function arrived() {
  try {
    const r = await post("/api/affiliate/click", { video_id: id, ref, landed: document.referrer.slice(0, 300) });
    if (r.remembered) head.append(h("p", { class: "mt-2 mb-0" }, badge(`Recommended by ${r.username}`, "secondary")));
  } catch { /* a lost click is no reason to disturb anybody */ }
}

async function main() {
  user = await nav();
  if (!/^[0-9a-f-]{36}$/i.test(id)) {
    fill(stage);
    fill($("#main"), empty("No video chosen", "The link is incomplete.", h("a", { class: "btn btn-brand", href: "/public/browse.html" }, "Browse videos")));
    return;
  }
  try {
    video = film((await get("/api/videos/" + encodeURIComponent(id))).video);
    if (ref) arrived();
    if ((!video.access || video.access === "rental" || params.has("gift")) && video.state === "ready" && (user || video.price_cents > 0)) options = await get("/api/pay/all_options", { video_id: id });
    drawAbout();
    draw();
  } catch (error) {
    if (error.status === 404 || error.status === 410) {
      const [title, text] = error.status === 404 ? ["This video does not exist", "It may have been taken down by its creator."] : ["This video was removed", error.message];
      fill($("#main"), empty(title, text, h("a", { class: "btn btn-brand", href: "/public/browse.html" }, "Browse videos")));
      return;
    }
    fill(stage);
    fill(panel);
    fill(head, problem(error, () => { fill(head, skeletonLines(2)); main(); }));
  }
}
main();
