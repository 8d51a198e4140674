-- bench/structure.lua — strings, tables and closures that come and go. SPDX-License-Identifier: MIT
-- usage: structure.lua COUNT; prints a checksum, the same under every allocator
local count = tonumber(arg[1])
local live, sum, random = {}, 0, 42

local function draw(range) -- Lehmer's generator, so that a run repeats
    random = random * 48271 % 2147483647
    return random % range + 1
end

local function make(i)
    local words = {}
    for word = 1, draw(12) do
        words[word] = ("w"):rep(draw(40)) .. i
    end
    local name = table.concat(words, " ")
    return { name = name, size = #name, at = function() return i end, words = words }
end

for i = 1, count do
    local slot = draw(2000)
    local old = live[slot]
    if old then
        sum = (sum * 31 + old.size + old.at()) % 1000000007
    end
    live[slot] = make(i)
end
print(("checksum %d"):format(sum))
