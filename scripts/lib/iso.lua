-- SPDX-License-Identifier: Apache-2.0
-- SQL text that shows a timestamp as RFC 3339 in UTC. Only for column names written in our own sources.
return function(column) return ([[to_char(%s at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')]]):format(column) end
