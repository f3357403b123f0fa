def total_price(prices, basket):
    total = 0
    for item in basket:
        if item in prices:
            total += prices[item]
    return total
