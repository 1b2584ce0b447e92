-- SPDX-License-Identifier: Apache-2.0
-- From a leaked clip to the account it was made for: find the title, read the marks in the sandbox, weigh the code words,
-- write it down and sign it. Code words stay in this process; the child that meets the clip knows none.
local blob = require "ppv.blob"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local json = require "ppv.json"
local media = require "ppv.media"
local copies = require "lib.copies"
local errors = require "lib.errors"
local hls = require "lib.hls"

-- LIKELY: likeness from which a title is compared picture by picture, at most CHOICES of them. SAME: correlation of pictures that a
-- title needs; SURE: with less it may be another take of the same scene (such reached 0.42), so the other choices are looked at too.
-- ALIKE: titles nearer to each other than this, in likeness or correlation, may be the same film.
local M = { ACCUSE = -6, SUSPECT = -2, LIKELY = 0.55, CHOICES = 3, SAME = 0.3, SURE = 0.6, ALIKE = 0.05 }
local INDEX_MAX = 32 * 1024 * 1024
local PURPOSE = "leak-evidence"

local function secret_of(v)
  local hex = v.title_secret and crypto.open(v.title_secret)
  local raw = hex and crypto.hex_decode(hex)
  return raw and #raw == 32 and raw or nil
end

-- Titles by likeness to the clip, best first. owner: of these titles only, nil = all.
local function find_titles(dir, owner, progress)
  local rows, err = db.read([[select id::text as id, title, title_secret, (index->'fingerprint')::text as fingerprint
    from videos where state = 'ready' and index ? 'fingerprint' and ($1::bigint is null or owner_id = $1) order by id]], owner)
  if not rows then return nil, err end
  local found = {}
  for i, v in ipairs(rows) do
    local secret, fp = secret_of(v), json.decode(v.fingerprint)
    if secret and fp and fp[2] then
      local score = media.match("tmp", dir .. "/clip.fp", v.id .. "/" .. fp[2].name, hls.key(secret, "fp", "a", 1),
        crypto.hex_decode(fp[2].iv))
      if score then found[#found + 1] = { id = v.id, title = v.title, secret = secret, match = score } end
    end
    if progress then progress("search", i / #rows) end
  end
  table.sort(found, function(a, b) return a.match > b.match end)
  return found, #rows
end

local function hex(s) return crypto.hex_encode(s) end

local function line(kind, file, key) return ("%s=%s %s %s\n"):format(kind, file.name, file.iv, hex(key)) end

-- Reads the marks of the clip as one of this title.
local function read_marks(clip, dir, t, signed, on_progress)
  local text, err = blob.read("media", t.id .. "/index.json", INDEX_MAX)
  if not text then return nil, err end
  local index = json.decode(text)
  local ref, fp = index and index.reference, index and index.fingerprint
  if not ref or not fp then return errors.fail("media.no_mark", "This title was prepared without a mark.") end
  t.code, t.segment_s = index.code, index.segment_s
  local fps = index.fps_num / index.fps_den
  local job = { ("rate=%d/%d\ngop=%d\npattern=%s\ninit=%s\n"):format(index.fps_num, index.fps_den,
    math.floor(fps * index.segment_s + 0.5), hex(crypto.hkdf(t.secret, "v1|pattern", 32)), ref.init),
    line("fp", fp[1], hls.key(t.secret, "fp", "a", 0)) }
  for i, s in ipairs(ref.segments) do
    local here, why = copies.need(t.id, s.name)
    if not here then return nil, why end
    job[#job + 1] = line("ref", s, hls.key(t.secret, ref.name, "a", i - 1))
  end
  return media.run("trace", { id = t.id, input = clip.path, input_root = clip.root, output = t.id, output_root = "media",
    signature = dir .. "/clip.fp", job = table.concat(job), ext = clip.ext, duration = signed.duration }, on_progress)
end

-- Everybody who could have been served the title. Every row of the key log has its playback session, of which there are far fewer.
local function candidates(id)
  local rows, err = db.read([[select user_id from entitlements where video_id = $1::uuid
    union select user_id from playback_sessions where video_id = $1::uuid
    union select owner_id from videos where id = $1::uuid order by 1]], id)
  if not rows then return nil, err end
  local users = {}
  for i, r in ipairs(rows) do users[i] = r.user_id end
  return users
end

-- Bits of segments that the key log says a user was served; nil when the log knows nothing of them.
local function served_bits(id, user, segments)
  local rows = db.read([[select distinct k.seq from playback_sessions p join key_log k on k.playback_id = p.id
    where p.video_id = $1::uuid and p.user_id = $2]], id, user)
  if not rows or #rows == 0 then return nil, 0 end
  local have, n, bytes = {}, 0, {}
  for _, r in ipairs(rows) do have[r.seq] = true end
  for i = 1, #segments, 8 do
    local byte = 0
    for k = 0, 7 do
      local s = segments[i + k]
      if s and have[s[1]] then
        byte = byte + 2 ^ k
        n = n + 1
      end
    end
    bytes[#bytes + 1] = string.char(byte)
  end
  return table.concat(bytes), n
end

-- The log narrows: what an account was never served is no evidence against it.
local function weigh(t, segments, users)
  local spec = { k_code = crypto.hkdf(t.secret, "v1|code", 32), code = t.code, segments = segments, users = users }
  local r, err = media.score(spec)
  if not r then return nil, err end
  local at, served, logged, any = {}, {}, {}, false
  for i, u in ipairs(users) do at[u], served[i] = i, false end
  for _, s in ipairs(r.suspects) do
    local bits, n = served_bits(t.id, s.user, segments)
    if bits then served[at[s.user]], logged[s.user], any = bits, n, true end
  end
  if any then
    spec.served = served
    r, err = media.score(spec)
    if not r then return nil, err end
  end
  for _, s in ipairs(r.suspects) do s.served = logged[s.user] or json.null end
  return r
end

local function name_suspects(list, segments)
  local out = {}
  for _, s in ipairs(list) do
    if s.log10_bound < 0 and #out < 10 then
      local u = db.read_one("select username from users where id = $1", s.user)
      out[#out + 1] = { user_id = s.user, username = u and u.username or json.null, log10_bound = s.log10_bound, score = s.score,
        accounts = s.accounts, with = s.with, agree = s.agree, read = s.read, served = s.served, segments = #segments,
        accused = s.log10_bound < M.ACCUSE }
    end
  end
  return json.array(out)
end

local function verdict_of(suspects)
  local best = suspects[1] and suspects[1].log10_bound or 0
  return best < M.ACCUSE and "accused" or best < M.SUSPECT and "suspects" or "none"
end

-- Segments in which the mark is plain; without our mark |z| > 3 happens at most 2 e^-4.5 = 2 % of the time.
local function plain_marks(segments)
  local n = 0
  for _, s in ipairs(segments) do if math.abs(s[4]) > 3 then n = n + 1 end end
  return n
end

-- Mean square of the marks' z; about 1 where there is no mark of this title.
local function power_of(segments)
  local sum = 0
  for _, s in ipairs(segments) do sum = sum + s[4] ^ 2 end
  return #segments > 0 and sum / #segments or 0
end

-- Of two titles with the same pictures (a film uploaded twice, another cut of it) the one whose marks the clip carries.
local function better(r, than)
  if not than or math.abs(r.registration - than.registration) > M.ALIKE then
    return not than or r.registration > than.registration
  end
  return power_of(r.segments) > power_of(than.segments)
end

-- Likeness proposes, the pictures decide: the title whose pictures agree best with the clip's, and its readings; nil when none does.
local function pick_title(found, clip, dir, signed, progress)
  local best, reading, unmarked
  for i = 1, math.min(#found, M.CHOICES) do
    local t = found[i]
    local sure = reading and reading.registration > M.SURE and best.match - t.match > M.ALIKE
    if t.match < M.LIKELY or sure then break end
    local r, err = read_marks(clip, dir, t, signed, progress)
    if not r and err.code ~= "media.no_mark" then return nil, err end
    unmarked = unmarked or err
    if r and r.registration > M.SAME and better(r, reading) then best, reading = t, r end
  end
  return best, reading or unmarked
end

local function analyse(clip, dir, o)
  local on = function(stage, from, to)
    return function(ev) return not o.progress or o.progress(stage, from + (to - from) * (ev.progress or 0)) end
  end
  local signed, err = media.run("sign", { id = dir, input = clip.path, input_root = clip.root, output = dir, output_root = "tmp",
    ext = clip.ext, max_duration_s = 14400 }, on("look", 0, 0.2))
  if not signed then return nil, err end
  local found, total = find_titles(dir, o.owner)
  if not found then return nil, total end
  local report = { format = "ppv leak evidence 1", at = os.date("!%Y-%m-%dT%H:%M:%SZ"), clip = { name = clip.name, sha256 = clip.sha256,
    duration = signed.duration, width = signed.width, height = signed.height, fps = signed.fps }, titles = total, verdict = "none",
    suspects = json.array {}, threshold = M.ACCUSE }
  local t, r = pick_title(found, clip, dir, signed, on("read", 0.2, 0.95))
  if not t and r then return nil, r end
  if not t then
    report.reason = "The clip shows none of the titles."
    return report
  end
  report.title = { id = t.id, title = t.title, match = t.match }
  report.reading, report.segment_s = r, t.segment_s
  report.marked = plain_marks(r.segments)
  if #r.segments == 0 then
    report.reason = "The clip could not be aligned with the title."
    return report
  end
  local users
  users, err = candidates(t.id)
  if not users then return nil, err end
  local w
  w, err = weigh(t, r.segments, users)
  if not w then return nil, err end
  report.candidates, report.level, report.averaged = w.candidates, w.level, w.averaged
  report.suspects = name_suspects(w.suspects, r.segments)
  report.verdict = verdict_of(report.suspects)
  return report
end

-- clip: {root, path, ext, name, sha256}. o: owner (id or nil = all titles), by (user id), progress(stage, part).
-- -> {id, verdict, report, file}: the file's text is the signed evidence.
function M.run(clip, o)
  local dir = "trace-" .. crypto.hex_encode(crypto.random(12))
  local fine, report, err = pcall(analyse, clip, dir, o)
  blob.remove_tree("tmp", dir)
  if not fine then error(report, 0) end
  if not report then return nil, err end
  local row
  if report.title then
    row, err = db.one([[insert into leaks (video_id, submitted_by, verdict, report) values ($1::uuid, $2, $3, $4::jsonb) returning id]],
      report.title.id, o.by, report.verdict, json.encode { file = M.sign(report) })
    if not row then return nil, err end
  end
  return { id = row and row.id, verdict = report.verdict, report = report, file = M.sign(report) }
end

-- The evidence file: the exact text that was signed, and the signature.
function M.sign(report)
  local text = json.encode(report)
  return json.encode { evidence = text, signature = crypto.sign(PURPOSE, crypto.sha256(text, "hex")) }
end

-- -> report, or nil and a sentence.
function M.verify(file)
  local box = json.decode(file)
  if type(box) ~= "table" or type(box.evidence) ~= "string" or type(box.signature) ~= "string" then
    return nil, "This is not an evidence file."
  end
  local digest = crypto.verify(PURPOSE, box.signature)
  if not digest then return nil, "The signature is not from this site." end
  if digest ~= crypto.sha256(box.evidence, "hex") then return nil, "The evidence was changed after it was signed." end
  return json.decode(box.evidence)
end

-- The verdict in sentences, for people.
function M.explain(r)
  local out = {}
  local function add(fmt, ...) out[#out + 1] = fmt:format(...) end
  add("Verdict: %s", r.verdict)
  if type(r.title) == "table" then add("Title: %s (%s), likeness %.2f", r.title.title, r.title.id, r.title.match) end
  if type(r.reading) == "table" then
    add("Read: %d segments, %d of them with a plain mark; %d of %d pictures; %d uninterrupted runs%s", #r.reading.segments, r.marked,
      r.reading.used, r.reading.pictures, #r.reading.runs, r.reading.mirrored and "; the picture is mirrored" or "")
    if r.reading.registration and r.reading.registration < M.SURE then
      add("The pictures agree only to %.2f: the clip may show another take or another title.", r.reading.registration)
    end
  end
  if r.candidates then add("Candidates: %d accounts", r.candidates) end
  for _, s in ipairs(r.suspects) do
    add("%s account %d (%s): chance of naming anybody innocent so surely at most 10^%.1f; %d of %d clear segments agree%s",
      s.accused and "ACCUSED" or "suspect", s.user_id, tostring(s.username), s.log10_bound, s.agree, s.read,
      s.accounts > 1 and ("; as one of about %d accounts"):format(s.accounts) or "")
  end
  if r.reason then add("%s", r.reason) end
  return table.concat(out, "\n") .. "\n"
end

return M
