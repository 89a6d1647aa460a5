"""The Gradle project, as far as it can be checked without Android: sources, resources, versions.

Sources are compiled by the Kotlin compiler against stubs of the interfaces that they name; manifest
and layout by Android's own aapt2 against the platform's resources (Debian: aapt,
android-framework-res). What was not run is Gradle with Android's plugin, and a phone.
"""

import os
import re
import shutil
import subprocess
import xml.etree.ElementTree
from pathlib import Path

import pytest

ANDROID = Path(__file__).parents[2] / "android"
STUBS = Path(__file__).parent / "stubs"
PLATFORM = Path("/usr/share/android-framework-res/framework-res.apk")
APP = ANDROID / "app" / "src" / "main"


def run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def resources(tmp_path_factory):
    """The app's resources, compiled and linked; the folder of R.java."""
    if not shutil.which("aapt2") or not PLATFORM.is_file():
        pytest.skip(
            "aapt2 or the platform's resources are missing: apt install aapt android-framework-res"
        )
    folder = tmp_path_factory.mktemp("resources")
    run("aapt2", "compile", "--dir", APP / "res", "-o", folder / "compiled.zip")
    manifest = (APP / "AndroidManifest.xml").read_text(encoding="utf-8")
    # Gradle puts the namespace and the versions in.
    (folder / "AndroidManifest.xml").write_text(
        manifest.replace("<manifest ", '<manifest package="tfpruneofa.demo" ', 1)
    )
    run(
        *("aapt2", "link", "-I", PLATFORM, "--manifest", folder / "AndroidManifest.xml"),
        *("--java", folder / "java", "-o", folder / "app.apk"),
        *("--min-sdk-version", "24", "--target-sdk-version", "35", folder / "compiled.zip"),
    )
    return folder / "java"


def test_manifest_and_resources_link(resources):
    text = next(resources.rglob("R.java")).read_text()
    for name in ("activity_main", "run_classify", "result_answer"):
        assert re.search(rf"int {name}=0x", text)


@pytest.mark.slow
def test_sources_compile(resources, tmp_path):
    home = os.environ.get("KOTLIN_HOME")
    compiler = f"{home}/bin/kotlinc" if home else shutil.which("kotlinc")
    if compiler is None:
        pytest.skip("the Kotlin compiler is missing: npm install kotlin-compiler@2.4.20")
    sources = [
        *ANDROID.glob("*/src/main/kotlin/**/*.kt"),
        *STUBS.rglob("*.java"),
        next(resources.rglob("R.java")),
    ]
    run("bash", compiler, "-Werror", *sources, "-d", tmp_path / "classes")


def test_every_version_is_pinned_once():
    tomllib = pytest.importorskip("tomllib")  # of Python 3.11
    catalogue = tomllib.loads((ANDROID / "gradle/libs.versions.toml").read_text())
    for name, version in catalogue["versions"].items():
        assert re.fullmatch(r"\d+(\.\d+)*", version), f"{name} = {version}"
    for entry in (*catalogue["libraries"].values(), *catalogue["plugins"].values()):
        assert set(entry["version"]) == {"ref"}
    for path in ANDROID.rglob("*.gradle.kts"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r'implementation\("|api\("|version "', text), path
        # Each name is one of the catalogue.
        for alias in re.findall(r"libs\.(?!versions|plugins)([\w.]+)\)", text):
            assert alias.replace(".", "-") in catalogue["libraries"], alias
    wrapper = (ANDROID / "gradle/wrapper/gradle-wrapper.properties").read_text()
    assert re.search(r"distributionSha256Sum=[0-9a-f]{64}\n", wrapper)


def test_names_in_kotlin_are_in_the_resources():
    source = "".join(path.read_text() for path in (APP / "kotlin").rglob("*.kt"))
    strings = xml.etree.ElementTree.parse(APP / "res/values/strings.xml").getroot()
    named = {entry.get("name") for entry in strings}
    layout = (APP / "res/layout/activity_main.xml").read_text()
    used = set(re.findall(r"R\.string\.(\w+)", source)) | set(re.findall(r"@string/(\w+)", layout))
    assert used <= named
    assert set(re.findall(r"R\.id\.(\w+)", source)) <= set(re.findall(r"@\+id/(\w+)", layout))
    # No text of its own in the layout, and none that nobody shows.
    assert not re.search(r'android:(text|hint)="[^@"]', layout)
    assert named - used == {"app_name"}


def test_the_delegate_is_built_from_the_package():
    script = (ANDROID / "textmodels/build.gradle.kts").read_text()
    [path] = re.findall(r'path = file\("(.+?)"\)', script)
    assert (ANDROID / "textmodels" / path).resolve().is_file()
    native = (ANDROID.parent / "native/android/sparse_int8_delegate_jni.cc").read_text()
    kotlin = (ANDROID / "textmodels/src/main/kotlin/tfpruneofa/SparseInt8Delegate.kt").read_text()
    for name in re.findall(r"external fun (\w+)", kotlin):
        assert f"Java_tfpruneofa_SparseInt8Delegate_{name}" in native
