"""What a person does on the page of every stage, and what they then read."""


def go(page, step):
    page.execute_script("page.go(arguments[0])", step)


def slide(page, slider, value):
    """Move a slider as a person does: its value changes, and it sends an event."""
    page.execute_script(
        "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
        "s.dispatchEvent(new Event('input', {bubbles: true}))",
        slider,
        str(value),
    )


def text(page, selector):
    return page.execute_script("return document.querySelector(arguments[0]).textContent", selector)


def field(page, name):
    return text(page, f'#details [data-field="{name}"]')


def hover(page, box):
    """Move the pointer over the middle of the box on the image."""
    page.execute_script(
        "const s = page.stage, b = arguments[0], r = s.canvas.getBoundingClientRect();"
        "const [x, y] = s.place((b[0] + b[2]) / 2, (b[1] + b[3]) / 2);"
        "s.canvas.dispatchEvent(new PointerEvent('pointermove', {bubbles: true,"
        "clientX: r.left + x * r.width / s.canvas.width,"
        "clientY: r.top + y * r.height / s.canvas.height}))",
        [float(v) for v in box],
    )
