"""What the browser tests of the viewer do with its page. Selenium is imported when it is used."""

HEIGHT, WIDTH = 60, 100
TITLE = "</script><script>alert(1)</script><img src='x'> $$x^2$$ \\(y\\)"
PARTS = ("input", "encoder", "decoder")
READ = """
const source = Bokeh.documents[0].get_model_by_name(arguments[0])
return Object.fromEntries(Object.entries(source.data).map(([k, v]) => [k, Array.from(v)]))
"""


def load(browser, address):
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(address)
    wait_until_ready(WebDriverWait(browser, 30))


def wait_until_ready(wait):
    ready = "return document.getElementById('graph-viewer')?.dataset.ready === 'true'"
    wait.until(lambda b: b.execute_script(ready))


def find(page, selector):
    return page.find_element("css selector", selector)


def over(page, panel, x, y):
    """The box of a panel, and where a position of the image lies in it, from its middle."""
    plot = find(page, f"[data-root-id='{root(page, panel)}']").find_element("xpath", "..")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    box = plot.size
    return plot, round((x / WIDTH - 0.5) * box["width"]), round((y / HEIGHT - 0.5) * box["height"])


def click(page, panel, x, y, press=True):
    """Move the mouse to a position of the image in a panel, and click there."""
    from selenium.webdriver import ActionChains

    chain = ActionChains(page).move_to_element_with_offset(*over(page, panel, x, y))
    (chain.click() if press else chain).perform()


def scroll(page, panel, x, y, steps):
    """Turn the wheel over a position of the image in a panel, as shown whole."""
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    origin = ScrollOrigin.from_element(*over(page, panel, x, y))
    ActionChains(page).scroll_from_origin(origin, 0, steps).perform()
    page.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 100))")


def root(page, panel):
    return page.execute_script(
        f"return Bokeh.documents[0].roots().find((r) => r.name === '{panel}').id"
    )


def state(page):
    return page.execute_script("return window.graphViewer.state")


def set_block(page, part, number):
    slider = find(page, f"#{part}-block")
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
    page.execute_script(script, slider, number)
