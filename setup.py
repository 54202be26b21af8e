"""What pyproject.toml cannot say: conf/ and starter/ lie beside the package in a checkout and within it in a wheel."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["sos*"]), "sos.conf", "sos.starter"],
    package_dir={"sos.conf": "conf", "sos.starter": "starter"},
)
