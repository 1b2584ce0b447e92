-- SPDX-License-Identifier: Apache-2.0
-- Subtitles of titles: what the film's file held, and what its creator added. vtt is WebVTT that lib/subtitles.lua wrote.
set local role ppv_owner;

create table subtitles (
    id bigint generated always as identity primary key,
    video_id uuid not null references videos on delete cascade,
    source text not null check (source in ('embedded', 'uploaded')), -- a new preparation replaces the embedded ones
    position integer not null default 0,                             -- their order in the menu
    language text check (language ~ '^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$'), -- BCP 47; null = unknown
    label text check (length(label) between 1 and 100),
    cues integer not null check (cues > 0),
    vtt text not null check (octet_length(vtt) <= 8388608),
    created_at timestamptz not null default now()
);
create index subtitles_video on subtitles (video_id, position, id);

grant select, insert, delete on subtitles to ppv_app, ppv_worker;
