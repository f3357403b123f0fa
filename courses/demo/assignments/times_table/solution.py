number = int(input())
for i in range(1, 6):
    print(number, "x", i, "=", number * i)
