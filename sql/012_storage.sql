-- SPDX-License-Identifier: Apache-2.0
-- Films' encrypted segments in a storage outside of this machine, and moving them there.
set local role ppv_owner;

-- A film whose segments are to be, or are, in the storage. What is there under these names never changes: each encode has its own.
create table video_copies (
    video_id uuid primary key references videos on delete cascade,
    place text not null default '',        -- which storage holds the copy; '' = none yet
    version timestamptz,                   -- videos.ready_at of what was copied
    files bigint not null default 0,
    bytes bigint not null default 0,
    copied_at timestamptz,
    trimmed boolean not null default false, -- segments were removed here: the storage is their only place
    trim_at timestamptz,                   -- when to look for segments to remove here
    wanted boolean not null default true,  -- a copy is to be made
    attempts integer not null default 0,
    next_try timestamptz not null default now(),
    error text
);
create index video_copies_wanted on video_copies (next_try) where wanted;
create index video_copies_trim on video_copies (trim_at) where trim_at is not null;

create table storage_migrations (
    id uuid primary key default ppv_uuid7(),
    status text not null default 'pending' check (status in
        ('pending', 'running', 'completed', 'completed_with_errors', 'failed', 'cancelled')),
    backend text not null,
    bucket text not null default '',
    endpoint text not null default '',
    place text not null default '',
    include_uploads boolean not null default false,
    include_media boolean not null default true,
    total_files bigint not null default 0,
    copied_files bigint not null default 0,
    failed_files bigint not null default 0,
    skipped_files bigint not null default 0,
    retry_attempts bigint not null default 0,
    last_error text,
    queue_job bigint,
    resumed_from_job_id uuid references storage_migrations on delete set null,
    started_by_user_id bigint references users on delete set null,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    completed_at timestamptz
);
create index storage_migrations_created on storage_migrations (created_at desc);
create unique index storage_migrations_one on storage_migrations ((true)) where status in ('pending', 'running');

create table storage_migration_items (
    id bigint generated always as identity primary key,
    job_id uuid not null references storage_migrations on delete cascade,
    scope text not null check (scope in ('uploads', 'media')),
    source_path text not null,
    object_key text not null,
    status text not null check (status in ('copied', 'failed', 'skipped')),
    retry_attempts bigint not null default 0,
    error_message text,
    created_at timestamptz not null default now()
);
create index storage_migration_items_job on storage_migration_items (job_id, id desc);

grant select, insert, update, delete on video_copies, storage_migrations, storage_migration_items to ppv_app, ppv_worker;
