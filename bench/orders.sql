-- bench/orders.sql — a small shop in memory, for sqlite3. SPDX-License-Identifier: MIT
CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT, city TEXT);
CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER, item TEXT, cents INTEGER);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO customers SELECT i, 'customer ' || i, printf('city %d', i * 7919 % 500) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000)
INSERT INTO orders
SELECT i, i * 7919 % 20000 + 1, printf('item %.*c', i % 90, 'x'), i * 31 % 10000 FROM n;
COMMIT;
CREATE INDEX orders_by_customer ON orders(customer, cents);
SELECT city, count(*), sum(cents), group_concat(substr(item, 1, 8))
FROM orders JOIN customers ON customers.id = customer GROUP BY city ORDER BY 3 DESC LIMIT 5;
SELECT upper(name), length(group_concat(item)) FROM customers JOIN orders ON customers.id = customer
GROUP BY customers.id HAVING sum(cents) > 30000 ORDER BY 2 DESC, 1 LIMIT 5;
DELETE FROM orders WHERE cents % 3 = 0;
UPDATE orders SET item = item || ' again' WHERE cents % 2 = 0;
SELECT count(*), sum(length(item)) FROM orders;
