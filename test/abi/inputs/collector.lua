-- test/abi/inputs/collector.lua — tables, strings, coroutines. SPDX-License-Identifier: MIT
local t, keys = {}, {}
for i = 1, 200000 do t["k" .. (i * 7919 % 100003)] = { i, tostring(i):rep(i % 9) } end
for k in pairs(t) do keys[#keys + 1] = k end
table.sort(keys)
local sum = 0
for i, k in ipairs(keys) do sum = (sum * 31 + t[k][1] * #t[k][2] + i) % 4294967296 end
print(#keys, sum)
local parts = {}
for i = 1, 50000 do parts[i] = string.format("%05d:%s", i, ("x"):rep(i % 50)) end
local text = table.concat(parts, ",")
print(#text, #text:gsub("x+", function(s) return #s end))
t, keys, parts = nil, nil, nil
collectgarbage()
local function tree(d) if d == 0 then return {} end return { tree(d - 1), tree(d - 1) } end
local function count(n) if not n[1] then return 1 end return 1 + count(n[1]) + count(n[2]) end
for d = 4, 14 do print(d, count(tree(d))) end
local co = {}
for i = 1, 5000 do co[i] = coroutine.wrap(function(a) for j = 1, 3 do a = a + coroutine.yield(a) end return a end) end
local total = 0
for i = 1, 5000 do total = total + co[i](i) end
print(total)
