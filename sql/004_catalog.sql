-- SPDX-License-Identifier: Apache-2.0
-- Videos, their renditions and files.
set local role ppv_owner;

create table videos (
    id uuid primary key default ppv_uuid7(),
    owner_id bigint not null references users,
    title text not null check (length(title) between 1 and 300),
    description text not null default '' check (length(description) <= 20000),
    price bigint not null default 0 check (price between 0 and 1000000000000), -- minor units
    currency char(3) not null default 'USD' check (currency ~ '^[A-Z]{3}$'),
    state text not null default 'queued' check (state in ('queued', 'processing', 'ready', 'failed', 'deleted')),
    visibility text not null default 'published' check (visibility in ('published', 'draft')),
    error_code text,                       -- set with state failed: media.unsupported ...
    error text,                            -- the sentence the creator sees
    upload_name text not null default '',  -- the file name the creator's browser sent
    upload_path text,                      -- relative to the upload root; null once removed
    upload_type text,
    upload_size bigint check (upload_size >= 0),
    upload_sha256 text check (upload_sha256 ~ '^[0-9a-f]{64}$'),
    title_secret text,                     -- sealed; keys of all segments derive from it
    duration_ms bigint check (duration_ms > 0),
    width integer check (width > 0),
    height integer check (height > 0),
    poster text,                           -- relative to the media root
    poster_own text,                       -- the same of a picture that the creator sent, chosen or not
    index jsonb,                           -- what ingest wrote (index.json) without the segment lists
    preview_ms bigint not null default 0 check (preview_ms >= 0), -- of the beginning, free for everybody
    chapters jsonb check (jsonb_typeof(chapters) = 'array'), -- [[ms, "title"], ...]; null until the first preparation or its creator says
    embed_origins text not null default '' check (length(embed_origins) <= 2000), -- who may frame /embed/:id, as in a CSP
    mark jsonb not null default '{}',      -- {"strength": 0..1.2 of the invisible mark, ...}, absent = default; visible mark options of this title
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    ready_at timestamptz,
    deleted_at timestamptz,
    search tsvector generated always as
        (setweight(to_tsvector('simple', title), 'A') || setweight(to_tsvector('simple', description), 'B')) stored,
    constraint videos_ready_complete check (state <> 'ready' or (duration_ms is not null and title_secret is not null))
);
create index videos_browse on videos (created_at desc, id desc) where state = 'ready' and visibility = 'published';
create index videos_owner on videos (owner_id, created_at desc, id desc);
create index videos_search on videos using gin (search);
create trigger videos_touch before update on videos for each row execute function ppv_touch();

-- One row per ladder step (and one for audio). segments is packed: [{"name","dur","iv","size"}, ...] per variant:
-- {"a": [...], "b": [...]}.
create table renditions (
    video_id uuid not null references videos on delete cascade,
    name text not null check (name ~ '^[a-z0-9_]{1,40}$'),
    kind text not null default 'video' check (kind in ('video', 'audio')),
    width integer,
    height integer,
    bandwidth integer not null check (bandwidth > 0),
    codecs text not null,
    language text check (language ~ '^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$'), -- of sound, BCP 47; null = unknown
    label text check (length(label) between 1 and 100),                    -- the name its maker gave it
    is_default boolean not null default false,                             -- the sound a player begins with
    init_path text not null,               -- relative to media/<video id>/
    segments jsonb not null,
    nsegments integer not null check (nsegments > 0),
    bytes bigint not null default 0,
    previous jsonb,                        -- {"init", "segments"} of the encode before, for who is watching it
    created_at timestamptz not null default now(),
    primary key (video_id, name)
);

-- Uploads in pieces (tus). A finished one has become the video of the same id.
create table uploads (
    id uuid primary key default ppv_uuid7(),
    owner_id bigint not null references users,
    state text not null default 'open' check (state in ('open', 'done', 'failed')),
    length bigint not null check (length > 0),
    received bigint not null default 0 check (received between 0 and length), -- so much is on the disk for certain
    hash text not null default '',         -- state of the SHA-256 of these bytes
    path text not null,                    -- relative to the upload root
    name text not null default '',         -- of the file at the creator's
    type text not null default '',
    fields jsonb not null default '{}',    -- title, description, price_cents
    metadata text not null default '',     -- Upload-Metadata as it was sent
    error_code text,
    error text,
    busy_until timestamptz,                -- a request is writing, as of then
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    constraint uploads_done_whole check (state <> 'done' or received = length)
);
create index uploads_owner on uploads (owner_id) where state = 'open';
create index uploads_expiry on uploads (expires_at);

-- Files the blob store holds. root: upload, media, tmp.
create table blobs (
    root text not null check (root in ('upload', 'media', 'tmp')),
    path text not null check (path <> '' and path !~ '(^/|\.\.)'),
    backend text not null default 'local',
    size bigint not null check (size >= 0),
    sha256 text check (sha256 ~ '^[0-9a-f]{64}$'),
    content_type text,
    video_id uuid references videos on delete set null,
    created_at timestamptz not null default now(),
    primary key (root, path)
);
create index blobs_video on blobs (video_id);

create table creator_blocks (
    id bigint generated by default as identity primary key,
    creator_id bigint not null references users on delete cascade,
    user_id bigint not null references users on delete cascade,
    ban_type text not null default 'soft' check (ban_type in ('soft', 'hard')), -- soft: no purchase; hard: no playback either
    reason text not null default '' check (length(reason) <= 1000),
    expires_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (creator_id, user_id),
    check (creator_id <> user_id)
);
create index creator_blocks_user on creator_blocks (user_id);
create trigger creator_blocks_touch before update on creator_blocks for each row execute function ppv_touch();

grant select, insert, update on videos to ppv_app; -- deletion is a state: money history refers to videos
grant select, insert, update, delete on renditions, blobs, uploads, creator_blocks to ppv_app;
grant select, update on videos to ppv_worker;
grant select, insert, update, delete on renditions, blobs, uploads to ppv_worker;
