-- SPDX-License-Identifier: Apache-2.0
-- What was watched, one row per playback session, rolled up from the key log, which is pruned by age.
set local role ppv_owner;

create table playback_stats (
    playback_id uuid primary key,
    user_id bigint not null,
    video_id uuid not null references videos on delete cascade,
    first_at timestamptz not null,
    last_at timestamptz not null,
    segments integer not null,             -- distinct picture segments whose key was answered
    watched int4multirange not null,       -- their numbers
    completed boolean not null,            -- nine tenths of the film were delivered
    renditions jsonb not null              -- {"480": segments}
);
create index playback_stats_video on playback_stats (video_id, first_at);

create table analytics_state (
    one boolean primary key default true check (one),
    rolled_to timestamptz not null default '-infinity'
);
insert into analytics_state default values;

-- Rolls up every playback whose log grew since the last call. The minute of overlap takes in rows that were committed late;
-- a playback is summed anew from all of its rows, so doing one twice changes nothing. Returns how many were summed.
create function ppv_analytics_roll() returns integer
    language plpgsql security definer set search_path = public, pg_temp as $$
declare v_since timestamptz; v_now timestamptz := clock_timestamp(); n integer;
begin
    select rolled_to into v_since from analytics_state for update;
    insert into playback_stats as s (playback_id, user_id, video_id, first_at, last_at, segments, watched, completed, renditions)
    select k.playback_id, min(k.user_id), k.video_id, min(k.at), max(k.at), count(distinct k.seq),
        range_agg(int4range(k.seq, k.seq + 1)), count(distinct k.seq) >= 0.9 * max(r.nsegments),
        (select jsonb_object_agg(x.rendition, x.n) from (select rendition, count(distinct seq) as n from key_log l
            where l.playback_id = k.playback_id group by rendition) x
            join renditions y on y.video_id = k.video_id and y.name = x.rendition and y.kind = 'video')
    from key_log k join renditions r on r.video_id = k.video_id and r.name = k.rendition and r.kind = 'video'
    where k.playback_id in (select playback_id from key_log where at > v_since - interval '1 minute')
    group by k.playback_id, k.video_id
    on conflict (playback_id) do update set first_at = excluded.first_at, last_at = excluded.last_at,
        segments = excluded.segments, watched = excluded.watched, completed = excluded.completed, renditions = excluded.renditions
        where s.last_at is distinct from excluded.last_at or s.segments <> excluded.segments;
    get diagnostics n = row_count;
    update analytics_state set rolled_to = v_now;
    return n;
end $$;

-- Playbacks of the videos a caller may ask about: of one owner (null = all), one video (null = all of them), since a time.
create function ppv_analytics_plays(p_owner bigint, p_video uuid, p_since timestamptz)
    returns table (playback_id uuid, user_id bigint, video_id uuid, first_at timestamptz, last_at timestamptz, watched_s double precision,
        watched int4multirange, completed boolean, renditions jsonb)
    language sql stable set search_path = public, pg_temp as $$
    select s.playback_id, s.user_id, s.video_id, s.first_at, s.last_at,
        s.segments * v.duration_ms / 1000.0 / (select max(nsegments) from renditions r where r.video_id = v.id and r.kind = 'video'),
        s.watched, s.completed, s.renditions
    from playback_stats s join videos v on v.id = s.video_id
    where s.first_at >= p_since and (p_owner is null or v.owner_id = p_owner) and (p_video is null or v.id = p_video)
        and s.user_id <> v.owner_id
$$;

grant select on playback_stats to ppv_app, ppv_worker;
grant execute on function ppv_analytics_roll() to ppv_app, ppv_worker;
grant execute on function ppv_analytics_plays(bigint, uuid, timestamptz) to ppv_app, ppv_worker;
