-- SPDX-License-Identifier: Apache-2.0
-- What every way of uploading shares: which files are taken, how much room there is, and how a received file becomes a film.
local blob = require "ppv.blob"
local crypto = require "ppv.crypto"
local db = require "ppv.db"
local log = require "ppv.log"
local config = require "lib.config"
local errors = require "lib.errors"
local payments = require "lib.payments"

local M = {}
local EXTENSIONS = { mp4 = true, m4v = true, mov = true, mkv = true, webm = true, ts = true, mts = true, m2ts = true, ["3gp"] = true,
  avi = true, mpg = true, mpeg = true, ogv = true, ogg = true }

-- Input of an upload besides the file.
M.FIELDS = {
  title = { type = "string", max = 200, default = "Untitled" },
  price_cents = { type = "int", min = 0, max = 1000000000, default = 0 },
  description = { type = "string", max = 5000, multiline = true, default = "" },
}
M.HEAD = 64 -- so many bytes tell what a file is

function M.refuse(message, where, status)
  return errors.fail("input.invalid", message, { status = status or 400, where = where or "validation" })
end

function M.max() return config.int("max_upload", 4294967296) end
function M.reserve() return config.int("disk_reserve", 0) end

-- The extension of a file name we take.
function M.extension(name)
  local ext = (name or ""):match("%.(%w+)$")
  ext = ext and ext:lower() or "mp4"
  if not EXTENSIONS[ext] then return M.refuse("this kind of file is not accepted: ." .. ext) end
  return ext
end

-- First bytes of the kinds of film we read; the sandboxed probe has the last word.
function M.check_head(path)
  local head, err = blob.read("upload", path, M.HEAD)
  if not head then return nil, err end
  if head:sub(5, 8) == "ftyp" or head:sub(5, 8) == "moov" or head:sub(5, 8) == "wide" or head:sub(5, 8) == "mdat"
    or head:sub(1, 4) == "\26\69\223\163" or head:byte(1) == 0x47 or head:byte(5) == 0x47
    or head:sub(1, 4) == "RIFF" and head:sub(9, 12) == "AVI " or head:sub(1, 4) == "OggS" or head:sub(1, 4) == "\0\0\1\186" then
    return true
  end
  return M.refuse("the file is not a film")
end

-- Room in the creator's own space and on the disk for so many bytes more. q: ppv.db or a transaction.
function M.room(q, owner, more)
  local row, err = q.one([[select (select coalesce(sum(upload_size), 0) from videos where owner_id = $1 and upload_path is not null)::bigint
    + (select coalesce(sum(length), 0) from uploads where owner_id = $1 and state = 'open' and expires_at > now())::bigint as used,
    (select coalesce(sum(length - received), 0) from uploads where state = 'open' and expires_at > now())::bigint as promised]], owner)
  if not row then return nil, err end
  local quota = config.int("user_quota", 0)
  if quota > 0 and row.used + more > quota then
    return errors.fail("upload.quota", "This would be more than the space you have for films.", { where = "validation" })
  end
  local free
  free, err = blob.free("upload")
  if not free then return nil, err end
  if free - row.promised - more < M.reserve() then
    return errors.fail("upload.disk_full", "There is not enough room for this film on the server at the moment.",
      { where = "validation", status = 507 })
  end
  return true
end

-- A received file f {path, filename, type, size, sha256} becomes a film that waits for its preparation. o.id: the film's id,
-- whose file has its final name already; o.also(tx) runs in the same transaction. -> {video_id, path, job_id}
function M.store(ctx, fields, f, ext, o)
  local id = o and o.id
  if not id then -- the file has its final name before the row that points at it is committed
    local row, err = db.one("select ppv_uuid7()::text as id")
    if not row then return nil, err end
    id = row.id
    local path = id .. "." .. ext
    local ok
    ok, err = blob.rename("upload", f.path, path)
    if not ok then return nil, err end
    f.path = path
  end
  local secret = crypto.seal(crypto.sha256(crypto.random(32), "hex"))
  local job, err = db.tx(function(tx)
    local n, e = tx.exec([[insert into videos (id, owner_id, title, description, price, currency, upload_name, upload_path, upload_type,
      upload_size, upload_sha256, title_secret) values ($1::uuid, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)]],
      id, ctx.user.id, fields.title, fields.description, fields.price_cents, payments.currency(),
      (f.filename or ""):gsub("[%c]", ""):sub(1, 200), f.path, (f.type or ""):sub(1, 100), f.size, f.sha256, secret)
    if not n then return nil, e end
    if o and o.also then
      n, e = o.also(tx)
      if not n then return nil, e end
    end
    return tx.one([[select ppv_job_add('media.ingest', jsonb_build_object('video_id', $1::text), 'video:' || $1::text,
      'ingest:' || $1::text, now(), 0, 3, $2) as id]], id, ctx.user.id)
  end)
  if not job then return nil, err end
  log.info("upload.stored", { user = ctx.user.id, video = id })
  return { video_id = id, path = f.path, job_id = job.id }
end

-- What the client hears of a stored film.
function M.answer(owner, done)
  return { video_id = done.video_id, owner_id = owner, filename = done.path, status = done.status or "queued", job_id = done.job_id,
    message = "The film was received and is being prepared." }
end

return M
