-- SPDX-License-Identifier: Apache-2.0
-- Playback sessions, the key log and watch progress.
set local role ppv_owner;

-- Bound to user, title and log-in session; the log-in ending (null) ends the playback.
create table playback_sessions (
    id uuid primary key default ppv_uuid7(),
    user_id bigint not null references users on delete cascade,
    video_id uuid not null references videos on delete cascade,
    session_id bigint references sessions on delete set null,
    access text not null,                  -- what ppv_access said at the start
    device text not null default '' check (length(device) <= 200),
    ip inet,
    user_agent text check (length(user_agent) <= 400),
    state text not null default 'ready' check (state in ('ready', 'ended')),
    end_reason text,
    keys_served bigint not null default 0,
    created_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    expires_at timestamptz not null,
    ended_at timestamptz
);
create index playback_sessions_user on playback_sessions (user_id, last_seen_at desc) where state = 'ready';
create index playback_sessions_video on playback_sessions (video_id, created_at desc);
create index playback_sessions_session on playback_sessions (session_id);
create index playback_sessions_expiry on playback_sessions (expires_at) where state = 'ready';

-- One row per key answered: evidence, analytics, pace limit. The application only adds and reads.
create table key_log (
    id bigint generated always as identity primary key,
    playback_id uuid not null,
    user_id bigint not null,
    video_id uuid not null,
    rendition text not null,
    variant char(1) not null,
    seq integer not null,
    ip inet,
    at timestamptz not null default now()
);
create index key_log_playback on key_log (playback_id, id);
create index key_log_video on key_log (video_id, at);
create index key_log_at on key_log using brin (at);

-- Retention: removes rows older than the given age, at most n. Call it from a tick until it returns 0.
create function ppv_key_log_prune(p_days integer, p_max integer default 10000) returns integer
    language plpgsql security definer set search_path = public, pg_temp as $$
declare n integer;
begin
    delete from key_log where id in (select id from key_log
        where at < now() - make_interval(days => greatest(p_days, 30)) order by id limit p_max);
    get diagnostics n = row_count;
    return n;
end $$;

create table watch_progress (
    user_id bigint not null references users on delete cascade,
    video_id uuid not null references videos on delete cascade,
    position_ms bigint not null default 0 check (position_ms >= 0),
    watched_ms bigint not null default 0 check (watched_ms >= 0),
    completed boolean not null default false,
    updated_at timestamptz not null default now(),
    primary key (user_id, video_id)
);
create index watch_progress_recent on watch_progress (user_id, updated_at desc);

create table leaks (
    id bigint generated always as identity primary key,
    video_id uuid not null references videos,
    submitted_by bigint references users on delete set null,
    verdict text check (verdict in ('accused', 'suspects', 'none')),
    report jsonb not null default '{}',
    created_at timestamptz not null default now()
);

grant select, insert, update on playback_sessions to ppv_app;
grant select, insert on key_log to ppv_app;
grant select, insert, update, delete on watch_progress to ppv_app;
grant select, insert, update on leaks to ppv_app;
grant select, update, delete on playback_sessions to ppv_worker;
grant execute on function ppv_key_log_prune(integer, integer) to ppv_app, ppv_worker;
