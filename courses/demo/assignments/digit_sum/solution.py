def digit_sum(number):
    if number < 10:
        return number
    return number % 10 + digit_sum(number // 10)
