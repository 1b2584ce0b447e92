-- SPDX-License-Identifier: Apache-2.0
-- The files of films against the table of films: what is damaged, what nobody needs. Used by the command line and a tick.
local blob = require "ppv.blob"
local db = require "ppv.db"
local time = require "ppv.time"
local copies = require "lib.copies"

local M = {}

-- Problems of one film that is ready, as a list of lines; nil, err when the files cannot be looked at at all.
function M.verify(id)
  local sums, err = blob.verify(id)
  if not sums then
    if err.code == "request.not_found" then return { "missing SHA256SUMS" }, 0 end
    return nil, err
  end
  local there
  there, err = copies.held(id)
  if there == nil then return nil, err end
  local out, late = {}, {}
  for kind, name in sums.report:gmatch "(%w+) ([^\n]+)" do
    if kind == "extra" then late[#late + 1] = name
    elseif not (kind == "missing" and there and there[name]) then out[#out + 1] = kind .. " " .. name end
  end
  for name in pairs(there and there.lost or {}) do out[#out + 1] = "missing in the storage " .. name end
  local rows
  rows, err = db.read("select name, init_path, nsegments from renditions where video_id = $1::uuid", id)
  if not rows then return nil, err end
  if #rows == 0 then out[#out + 1] = "missing renditions in the database" end
  for _, r in ipairs(rows) do
    if not blob.exists("media", id .. "/" .. r.init_path) then out[#out + 1] = "missing " .. r.init_path end
  end
  return out, sums.files, late
end

local UUID = "^%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x"

-- Names of files a newer encode replaced before the time limit.
function M.superseded(id, limit)
  local index, err = blob.list("media", id, "index.json")
  if not index then return nil, err end
  if not index[1] or index[1].mtime >= limit then return {} end
  local problems, why, late = M.verify(id)
  if not problems then return nil, why end
  local gone, old = {}, {}
  for _, name in ipairs(late or {}) do old[name] = true end
  for _, name in ipairs(late or {}) do
    local sealed = name:match "^clear%-(.+)$" -- a free preview's copy goes when what it is a copy of goes
    if not sealed or old[sealed] or not blob.exists("media", id .. "/" .. sealed) then gone[#gone + 1] = name end
  end
  return gone
end

-- What no film refers to: {{root, path, size, why}, ...}. Nothing younger than copies.KEEP_S is named: it may be about to be published.
function M.orphans()
  local out, limit = {}, time.now() - copies.KEEP_S
  local dirs, err = blob.list("media", "")
  if not dirs then return nil, err end
  for _, d in ipairs(dirs) do
    if d.dir and d.name:find(UUID) then
      local id, rest = d.name:sub(1, 36), d.name:sub(37)
      local row
      row, err = db.read_one([[select v.state, v.index is not null as published, exists (select 1 from jobs j
        where j.subject = 'video:' || v.id::text and j.state in ('ready', 'running')) as busy from videos v where v.id = $1::uuid]], id)
      if row == nil then return nil, err end
      local why
      if d.mtime >= limit then why = nil
      elseif not row then why = "there is no such film"
      elseif row.busy then why = nil
      elseif rest ~= "" then why = "left by an encode that did not end"
      elseif not row.published then why = "the film was never published" end
      if why then out[#out + 1] = { root = "media", path = d.name, why = why }
      elseif rest == "" and row.state == "ready" and not row.busy then
        local gone
        gone, err = M.superseded(id, limit)
        if not gone then return nil, err end
        for _, name in ipairs(gone) do out[#out + 1] = { root = "media", path = id .. "/" .. name, why = "from before the last encode" } end
      end
    end
  end
  local uploads
  uploads, err = blob.list("upload", "")
  if not uploads then return nil, err end
  for _, f in ipairs(uploads) do
    if not f.dir and f.mtime < limit and not f.name:find("%.part$") then
      local row
      row, err = db.read_one("select 1 as yes from videos where upload_path = $1", f.name)
      if row == nil then return nil, err end
      if not row then out[#out + 1] = { root = "upload", path = f.name, why = "no film was made of it" } end
    end
  end
  for _, o in ipairs(out) do o.size = blob.size(o.root, o.path) or 0 end
  local objects
  objects, err = copies.orphans()
  if not objects then return nil, err end
  for _, o in ipairs(objects) do out[#out + 1] = o end
  return out
end

function M.remove(o)
  if o.root == "storage" then return copies.drop(o.path) end
  return blob.remove_tree(o.root, o.path)
end

-- Queues a new encode of the original; whoever watches goes on with the old files. -> job id | nil, err
function M.rebuild(id, by)
  local row, err = db.one([[select ppv_job_add('media.reencode', jsonb_build_object('video_id', v.id::text), 'video:' || v.id::text,
    'ingest:' || v.id::text, now(), -1, 3, $2::bigint) as job from videos v where v.id = $1::uuid and v.state = 'ready'
    and v.upload_path is not null]], id, by)
  if row == nil then return nil, err end
  if not row then
    return nil, { code = "video.no_original", message = "The film is not ready, or its original file is gone.", status = 409 }
  end
  return row.job
end

return M
