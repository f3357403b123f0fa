count = 0
total = 0
line = input()
while line != "stop":
    total += int(line)
    count += 1
    line = input()
if count == 0:
    print("no numbers")
else:
    print(count)
    print(round(total / count, 2))
