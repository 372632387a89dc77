"""The web page, driven in headless Chromium as a person drives it."""

import json
import shutil
import urllib.request

import cv2
import numpy as np
import pytest
from web_page import HEIGHT, WIDTH, served_page, write_image

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER),
    reason="chromium or chromedriver is not installed (Debian: chromium, chromium-driver)",
)
PATIENCE = 60  # seconds
REMOVE = "button[aria-label='Remove Image'], button[aria-label='Clear']"
DESKTOP, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served_page(tmp_path_factory.mktemp("page")) as found:
        yield found


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def chromium(downloads):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


class Page:
    """What a person sees and does."""

    def __init__(self, driver, address, size):
        # The window of a headless browser has a smallest width; the page's own view has none.
        view = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", view)
        self.driver = driver
        driver.get(address)
        self.field("Sentence")

    def wait(self, condition):
        return WebDriverWait(self.driver, PATIENCE, 0.1).until(lambda _: condition())

    def find(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def labelled(self, kind, label):
        return self.driver.find_elements(
            By.XPATH, f"//label[contains(., '{label}')]//{kind} | //{kind}[@aria-label='{label}']"
        )

    def field(self, label):
        return self.wait(lambda: self.labelled("textarea", label))[0]

    def upload(self, path):
        self.wait(lambda: self.find("input[type=file]"))[0].send_keys(str(path))

    def upload_image(self, path):
        self.upload(path)
        self.wait(
            lambda: self.find("button[aria-label='Remove Image'], button[aria-label='Clear']")
        )

    def press(self, text):
        self.driver.find_element(By.XPATH, f"//button[contains(., '{text}')]").click()

    def press_link(self, text):
        link = self.wait(
            lambda: self.driver.find_elements(By.XPATH, f"//a[contains(@download, '{text}')]")
        )
        link[0].click()

    def said(self, text):
        """Waits until the page says something."""
        return self.wait(lambda: text in self.driver.find_element(By.TAG_NAME, "body").text)

    def answer(self, number=0):
        """The picture of an answer (height, width, 3)."""
        images = self.wait(lambda: self.answers()[number:])
        with urllib.request.urlopen(images[0]) as response:
            return cv2.imdecode(np.frombuffer(response.read(), np.uint8), cv2.IMREAD_COLOR)

    def answers(self):
        """Addresses of the answers' pictures."""
        return [link.get_attribute("href") for link in self.find("a[download^=image]")]


@pytest.fixture
def page(chromium, address):
    return Page(chromium, address, DESKTOP)


@pytest.fixture
def image(tmp_path):
    return write_image(tmp_path / "scene.png")


def ask(page, image, sentence):
    page.upload_image(image)
    page.field("Sentence").send_keys(sentence)
    page.press("Find it")
    page.said(f"{sentence}: ")


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_an_image_and_a_sentence_give_a_mask_to_look_at_and_to_download(
    chromium, address, downloads, image, size
):
    page = Page(chromium, address, size)
    ask(page, image, "the pool")
    answer = page.answer()
    assert answer.shape[:2] == (HEIGHT * 6, WIDTH * 6)  # small images are enlarged
    # Nothing on the page is wider than the window.
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= size[0]
    page.press_link("mask1.png")
    mask = page.wait(lambda: take(downloads / "mask1.png"))
    mask = cv2.imdecode(np.frombuffer(mask, np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (HEIGHT, WIDTH) and 0 < (mask == 255).mean() < 1
    large = mask.repeat(6, axis=0).repeat(6, axis=1) == 255
    red = answer[..., 2].astype(float)
    assert red[large].mean() > red[~large].mean() + 30  # the mask is tinted
    page.press_link("polygons1.geojson")
    polygons = json.loads(page.wait(lambda: take(downloads / "polygons1.geojson")))
    assert polygons["features"][0]["properties"]["sentence"] == "the pool"


def take(path):
    """The content of a finished download, which is removed; None while there is none."""
    if not path.exists():
        return None
    content = path.read_bytes()
    path.unlink()
    return content


def test_two_sentences_are_compared_side_by_side(page, image):
    page.field("Another sentence").send_keys("the tank on the left")
    ask(page, image, "the pool")
    page.said("the tank on the left: ")
    page.wait(lambda: len(page.answers()) == 2)


def test_a_sentence_is_shown_as_it_was_written(page, image):
    ask(
        page,
        image,
        "<img src=x onerror=\"document.title='run'\"> **a** ${7*7} {{7*7}} $$x$$ ![y](z)",
    )
    assert page.driver.title == "Point with a sentence"


def test_an_example_is_picked_and_asked_with_the_keyboard_alone(page):
    page.wait(lambda: page.find("button.gallery-item"))[0].send_keys(Keys.ENTER)
    page.wait(lambda: page.field("Sentence").get_attribute("value") == "the pool of the example")
    page.wait(lambda: page.find(REMOVE))
    page.field("Sentence").send_keys(Keys.ENTER)
    page.said("the pool of the example: ")
    page.answer()


def test_every_control_is_reached_with_the_tab_key(page):
    page.field("Sentence").send_keys("")
    reached = set()
    for _ in range(12):
        focused = page.driver.switch_to.active_element
        reached.add((focused.tag_name, focused.text or focused.get_attribute("type") or ""))
        focused.send_keys(Keys.TAB)
    assert {("textarea", "textarea"), ("button", "Find it"), ("input", "range")} <= reached


def test_an_arrow_key_on_the_threshold_draws_the_answer_anew(page, image):
    ask(page, image, "the pool")
    before = page.wait(page.answers)[0]
    page.wait(lambda: page.find("input[type=range]"))[0].send_keys(Keys.ARROW_LEFT * 5)
    page.wait(lambda: page.answers() and page.answers()[0] != before)


def test_a_file_that_is_no_image_gets_a_sentence(page, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff not really")
    page.upload_image(broken)
    page.field("Sentence").send_keys("the pool")
    page.press("Find it")
    page.said("This file cannot be read as an image")
    assert "Traceback" not in page.driver.page_source


def test_an_empty_sentence_gets_a_sentence(page, image):
    page.upload_image(image)
    page.press("Find it")
    page.said("the first sentence is empty")


def test_nothing_is_asked_of_the_internet(page, image):
    page.driver.get_log("performance")  # what was asked before
    page.driver.refresh()
    ask(page, image, "the pool")
    messages = [
        json.loads(entry["message"])["message"] for entry in page.driver.get_log("performance")
    ]
    urls = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    assert urls
    foreign = [url for url in urls if not url.startswith(("http://127.0.0.1", "data:", "blob:"))]
    assert not foreign
