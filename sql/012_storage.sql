-- SPDX-License-Identifier: Apache-2.0
-- Moving files between storage back ends.
set local role ppv_owner;

create table storage_migrations (
    id uuid primary key default ppv_uuid7(),
    status text not null default 'pending' check (status in ('pending', 'running', 'completed', 'failed', 'cancelled')),
    backend text not null,
    bucket text not null default '',
    endpoint text not null default '',
    include_uploads boolean not null default true,
    include_media boolean not null default true,
    total_files bigint not null default 0,
    copied_files bigint not null default 0,
    failed_files bigint not null default 0,
    skipped_files bigint not null default 0,
    retry_attempts bigint not null default 0,
    last_error text,
    resumed_from_job_id uuid references storage_migrations on delete set null,
    started_by_user_id bigint references users on delete set null,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    completed_at timestamptz
);
create index storage_migrations_created on storage_migrations (created_at desc);

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

grant select, insert, update, delete on storage_migrations, storage_migration_items to ppv_app, ppv_worker;
