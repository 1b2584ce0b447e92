-- SPDX-License-Identifier: Apache-2.0
-- Direct messages and support.
set local role ppv_owner;

create table chat_conversations (
    id uuid primary key default ppv_uuid7(),
    conversation_type text not null check (conversation_type in ('admin_support', 'direct')),
    user_a_id bigint references users on delete cascade, -- direct: the smaller id
    user_b_id bigint references users on delete cascade,
    support_user_id bigint references users on delete cascade,
    created_by_user_id bigint references users on delete set null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    last_message_at timestamptz,
    check (case conversation_type when 'direct' then user_a_id < user_b_id and support_user_id is null
        else support_user_id is not null and user_a_id is null and user_b_id is null end)
);
create unique index chat_direct on chat_conversations (user_a_id, user_b_id) where conversation_type = 'direct';
create unique index chat_support on chat_conversations (support_user_id) where conversation_type = 'admin_support';
create index chat_direct_b on chat_conversations (user_b_id);

create table chat_messages (
    id bigint generated always as identity primary key,
    conversation_id uuid not null references chat_conversations on delete cascade,
    sender_user_id bigint not null references users on delete cascade,
    body text not null check (length(body) between 1 and 4000),
    created_at timestamptz not null default now()
);
create index chat_messages_conversation on chat_messages (conversation_id, id desc);

create table chat_reads (
    conversation_id uuid not null references chat_conversations on delete cascade,
    user_id bigint not null references users on delete cascade,
    last_message_id bigint not null,
    primary key (conversation_id, user_id)
);

grant select, insert, update, delete on chat_conversations, chat_messages, chat_reads to ppv_app;
revoke all on chat_messages from ppv_ro;
