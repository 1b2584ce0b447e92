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
    burst_share smallint not null default 0 check (burst_share between 0 and 100), -- videos.mark at the start
    burst_wait boolean not null default false,
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

-- Starts a session. At most p_streams sessions, on at most p_devices log-ins (0 = any number), may be seen playing within
-- the last minute: past that the new one is refused (p_oldest false) or the oldest ones end. One start per user at a time.
create function ppv_play_start(p_user bigint, p_video uuid, p_login bigint, p_access text, p_ip inet, p_agent text,
    p_life integer, p_streams integer, p_devices integer, p_oldest boolean) returns uuid
    language plpgsql security definer set search_path = public, pg_temp as $$
declare v_id uuid;
begin
    perform from users where id = p_user for no key update;
    if p_access = 'rental' and not ppv_rental_start(p_user, p_video) then
        perform ppv_refuse('access.denied', 'Your rental has ended.');
    end if;
    insert into playback_sessions (user_id, video_id, session_id, access, ip, user_agent, expires_at, burst_share, burst_wait)
        select p_user, p_video, p_login, p_access, p_ip, p_agent, now() + make_interval(secs => p_life),
            coalesce((v.mark ->> 'visible')::smallint, 0), coalesce(v.mark ->> 'fail' = 'wait', false)
        from videos v where v.id = p_video returning id into v_id;
    perform ppv_play_room(v_id, p_streams, p_devices, p_oldest);
    return v_id;
end $$;

-- Makes room for a session that starts or goes on after a pause, or refuses it.
create function ppv_play_room(p_id uuid, p_streams integer, p_devices integer, p_oldest boolean) returns integer
    language plpgsql security definer set search_path = public, pg_temp as $$
declare s playback_sessions; v_over uuid[];
begin
    select * into s from playback_sessions where id = p_id;
    with live as (
        select p.id, p.session_id, p.last_seen_at from playback_sessions p
        where p.user_id = s.user_id and p.state = 'ready' and p.id <> p_id and p.last_seen_at > now() - interval '60 seconds'
    ), logins as (
        select session_id, row_number() over (order by max(last_seen_at) desc, session_id desc) as n
        from live where session_id is distinct from s.session_id group by session_id
    ), ranked as (
        select l.id, row_number() over (order by l.last_seen_at desc, l.id desc) as n, coalesce(d.n, 0) as device
        from live l left join logins d on d.session_id is not distinct from l.session_id
    )
    select array_agg(id) into v_over from ranked where n > p_streams - 1 or (p_devices > 0 and device > p_devices - 1);
    if v_over is null then
        return 0;
    end if;
    if not p_oldest then
        perform ppv_refuse('playback.limit', 'You are watching in as many places as your account allows. Stop one of them to watch here.');
    end if;
    update playback_sessions set state = 'ended', end_reason = 'limit', ended_at = now() where id = any (v_over);
    return cardinality(v_over);
end $$;

-- Sessions whose right to go on may have changed: every machine drops their leases at once (the engine looks again after 10 s anyway).
create function ppv_play_tell(p_user bigint, p_video uuid) returns void
    language sql security definer set search_path = public, pg_temp as $$
    select pg_notify('playback', replace(id::text, '-', '')) from playback_sessions
    where state = 'ready' and user_id = p_user and (p_video is null or video_id = p_video)
$$;
create function ppv_play_changed() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
    case tg_table_name
    when 'playback_sessions' then
        perform pg_notify('playback', replace(new.id::text, '-', ''));
    when 'entitlements' then
        perform ppv_play_tell(new.user_id, new.video_id);
    when 'creator_blocks' then
        perform ppv_play_tell(new.user_id, null);
    when 'users' then
        perform ppv_play_tell(new.id, null);
    end case;
    return null;
end $$;
create trigger playback_sessions_over after update on playback_sessions for each row
    when (old.state = 'ready' and new.state = 'ended' or old.session_id is not null and new.session_id is null)
    execute function ppv_play_changed();
create trigger entitlements_over after update on entitlements for each row
    when (old.revoked_at is null and new.revoked_at is not null or new.expires_at is distinct from old.expires_at)
    execute function ppv_play_changed();
create trigger creator_blocks_over after insert or update on creator_blocks for each row
    when (new.ban_type = 'hard') execute function ppv_play_changed();
create trigger users_over after update on users for each row
    when (old.disabled_at is null and new.disabled_at is not null) execute function ppv_play_changed();

-- One row per key answered: evidence, analytics, pace limit. The application only adds and reads.
create table key_log (
    id bigint generated always as identity primary key,
    playback_id uuid not null,
    user_id bigint not null,
    video_id uuid not null,
    rendition text not null,
    variant char(1) not null,              -- a, b; u = the viewer's own visible burst
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
grant execute on function ppv_play_start(bigint, uuid, bigint, text, inet, text, integer, integer, integer, boolean),
    ppv_play_room(uuid, integer, integer, boolean) to ppv_app;
grant select, insert, update, delete on watch_progress to ppv_app;
grant select, insert, update on leaks to ppv_app, ppv_worker;
grant select on key_log to ppv_worker;
grant select, update, delete on playback_sessions to ppv_worker;
grant execute on function ppv_key_log_prune(integer, integer) to ppv_app, ppv_worker;
