/* test/abi/inputs/containers.cpp — maps, owners, a regex. SPDX-License-Identifier: MIT */
#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <regex>
#include <string>
#include <unordered_map>
#include <vector>
template <typename T> struct node {
    T value;
    std::vector<std::shared_ptr<node>> children;
};
int main() {
    std::map<std::string, std::vector<int>> table;
    std::unordered_map<int, std::unique_ptr<std::string>> owned;
    for (int i = 0; i < 100000; i++) {
        table["k" + std::to_string(i * 7919 % 5003)].push_back(i);
        owned[i % 3001] = std::make_unique<std::string>(static_cast<std::size_t>(i % 90), 'x');
    }
    auto root = std::make_shared<node<int>>();
    for (int i = 0; i < 1000; i++)
        root->children.push_back(std::make_shared<node<int>>());
    std::regex digits("k([0-9]+)");
    unsigned long sum = root->children.size();
    for (const auto &[key, values] : table)
        if (std::smatch m; std::regex_match(key, m, digits))
            sum = sum * 31 + std::stoul(m[1]) + values.size();
    std::cout << sum << ' ' << owned.size() << '\n';
}
