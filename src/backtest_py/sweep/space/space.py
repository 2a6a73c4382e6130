"""What a sweep varies: axes over base settings, and which of their combinations are admitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, cast

import numpy as np

from backtest_py.contract import Contract
from backtest_py.errors import ConfigError
from backtest_py.parameters import unknown_name
from backtest_py.rules import DEFAULT_TARGET, ExitRules
from backtest_py.strategies.base import get_strategy
from backtest_py.sweep.space.axis import Axis, GridSpan, build_axis, condition_column, grid_spec
from backtest_py.sweep.space.where import name_kind, parse_condition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from backtest_py.parameters import Parameter, Settings
    from backtest_py.strategies.base import Strategy
    from backtest_py.sweep.space.where import Condition

__all__ = [
    "Constraint",
    "Index",
    "ParameterSpace",
    "RuleProbe",
    "Section",
    "build_arguments",
    "check_grid",
    "grid_parameters",
    "meet_all",
    "prepare_axes",
]

INVALID: Final = ("refuse", "skip")

Index: TypeAlias = "Sequence[NDArray[np.integer[Any]]]"
"""Positions on every axis, as arrays that broadcast against each other."""


def _unknown(_box: Sequence[range]) -> tuple[bool, bool]:
    return False, True


class Constraint(NamedTuple):
    """Something that combinations must meet, and the axes that decide it.

    Attributes
    ----------
    axes : frozenset of int
        Positions of the axes that it looks at.
    holds : callable
        Given positions on every axis, returns where it is met.
    bounds : callable, optional
        Given a range of positions on every axis, returns whether it is surely met everywhere in
        that box, and whether it may be met anywhere.
    """

    axes: frozenset[int]
    holds: Callable[[Index], NDArray[np.bool_]]
    bounds: Callable[[Sequence[range]], tuple[bool, bool]] = _unknown


def grid_parameters(strategy: Strategy) -> dict[str, Parameter]:
    """Return every parameter that a grid may vary, by its full key."""
    owners: tuple[type[Settings], ...] = (type(strategy), ExitRules, Contract)
    return {f"{kind.section}.{spec.name}": spec for kind in owners for spec in kind.parameters()}


class Section(NamedTuple):
    """One of the three settings objects: its base, what stays, and the axis of what varies."""

    base: Settings
    fixed: dict[str, Any]
    swept: tuple[tuple[str, int], ...]


class RuleProbe:
    """Runs the rules between the fields of one section, and notes which swept fields they read.

    It leaves out the checks of single fields: the values of an axis have passed them.

    Attributes
    ----------
    reads : set of str
        Swept fields that the rules have read so far; which ones they read may depend on values.
    """

    def __init__(self, section: Section) -> None:
        swept = frozenset(name for name, _ in section.swept)
        self.reads: set[str] = set()
        note = self.reads.add
        kind = type(section.base)

        def noting(probe: object, name: str) -> Any:
            if name in swept:
                note(name)
            return object.__getattribute__(probe, name)

        self._plain = type(kind.__name__, (kind,), {"parameters": classmethod(lambda _: ())})
        self._probe: Any = object.__new__(
            type(kind.__name__, (self._plain,), {"__getattribute__": noting})
        )
        self._fixed = section.fixed
        self._n_swept = len(swept)

    def set(self, values: Mapping[str, Any]) -> None:
        """Set swept fields, for the calls that do not."""
        for name, value in values.items():
            object.__setattr__(self._probe, name, value)

    def __call__(self, names: Sequence[str], values: Iterable[Any]) -> bool:
        """Return whether the rules allow these values of swept fields."""
        probe = self._probe
        for name, value in self._fixed.items():  # a rule may have replaced one, as target_r does
            object.__setattr__(probe, name, value)
        for name, value in zip(names, values, strict=True):
            object.__setattr__(probe, name, value)
        try:
            probe.__post_init__()
        except ConfigError:
            return False
        finally:
            if len(self.reads) == self._n_swept:  # there is nothing left to note
                object.__setattr__(probe, "__class__", self._plain)
        return True


@dataclass(frozen=True)
class ParameterSpace:
    """Axes over base settings: what a position on every axis means, and whether it is admitted.

    Attributes
    ----------
    strategy, rules, contract
        The base: values of the parameters that do not vary.
    axes : tuple of Axis
        What varies, in the order of the grid's keys.
    where : str
        The condition between parameters, ``""`` for none.
    invalid : {"refuse", "skip"}
        What to do with combinations that the settings' own rules refuse.
    target_given : bool
        Whether ``rules.target`` was chosen, in the base or as an axis. If not, a ``target_r``
        above 0 turns the default off, combination by combination.
    """

    strategy: Strategy
    rules: ExitRules
    contract: Contract
    axes: tuple[Axis, ...]
    where: str
    invalid: str
    target_given: bool

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the fields alone: what is cached is cheap, and holds functions."""
        return type(self), tuple(getattr(self, item.name) for item in fields(self))

    @property
    def keys(self) -> tuple[str, ...]:
        """Full keys of the axes."""
        return tuple(axis.key for axis in self.axes)

    @cached_property
    def strategy_axes(self) -> tuple[int, ...]:
        """Positions of the strategy's axes."""
        return self._positions("strategy")

    @cached_property
    def rules_axes(self) -> tuple[int, ...]:
        """Positions of the exit rules' axes."""
        return self._positions("rules")

    @cached_property
    def contract_axes(self) -> tuple[int, ...]:
        """Positions of the contract's axes."""
        return self._positions("contract")

    @cached_property
    def exit_axes(self) -> tuple[int, ...]:
        """Positions of the axes of rules and contract, in the order of the grid."""
        return tuple(sorted((*self.rules_axes, *self.contract_axes)))

    @cached_property
    def structural_axes(self) -> tuple[int, ...]:
        """Positions of the strategy's axes that shape scores instead of cutting them."""
        cutting, _ = self.strategy.split_parameters()
        return tuple(at for at in self.strategy_axes if self.axes[at].name not in cutting)

    def values_at(self, digits: Sequence[int]) -> dict[str, Any]:
        """Return the swept values at a position on every axis, by full key."""
        return {axis.key: axis.values[digit] for axis, digit in zip(self.axes, digits, strict=True)}

    def strategy_at(self, digits: Sequence[int]) -> Strategy:
        """Return the strategy at a position on every axis; other sections' axes do not matter.

        Raises
        ------
        ConfigError
            If its own rules refuse the combination.
        """
        return cast("Strategy", self._settings(self.sections[0], digits))

    def rules_at(self, digits: Sequence[int]) -> ExitRules:
        """Return the exit rules at a position on every axis, as :meth:`strategy_at`."""
        return cast("ExitRules", self._settings(self.sections[1], digits))

    def contract_at(self, digits: Sequence[int]) -> Contract:
        """Return the contract at a position on every axis, as :meth:`strategy_at`."""
        return cast("Contract", self._settings(self.sections[2], digits))

    def settings_at(self, digits: Sequence[int]) -> tuple[Strategy, ExitRules, Contract]:
        """Return what :func:`backtest_py.run` would take at a position on every axis.

        Raises
        ------
        ConfigError
            If the settings' own rules refuse the combination.
        """
        return self.strategy_at(digits), self.rules_at(digits), self.contract_at(digits)

    def admits(self, index: Index) -> NDArray[np.bool_]:
        """Return where combinations are valid and ``where`` admits them.

        Parameters
        ----------
        index : sequence of ndarray of int
            Positions on every axis, of shapes that broadcast against each other.

        Returns
        -------
        ndarray of bool
            Of a shape that broadcasts to theirs: an axis that decides nothing may have length 1.
        """
        return meet_all((*self.conditions, *self.rules_between), index)

    def refusal(self, digits: Sequence[int], what: str, *, others: bool) -> ConfigError:
        """Build the error for a combination that the settings' own rules refuse.

        With ``others``, combinations are left without those; else leaving them out is no remedy.
        """
        shown = ", ".join(f"{key} = {value!r}" for key, value in self.values_at(digits).items())
        remedy = 'exclude such combinations by a where, or set invalid = "skip"'
        if not others:
            remedy = "no combination of this grid is allowed"
        try:
            self.settings_at(digits)
        except ConfigError as error:
            reason, fixed = str(error), self.target_in_the_way()
            if fixed and "target" in reason:
                reason = reason.partition(";")[0]
                remedy = f"{fixed} is set in [rules]: delete that line, or set it to 0"
            return ConfigError(f"{what} is not allowed ({shown}): {reason}; {remedy}")
        raise AssertionError(f"{what} ({shown}) was found invalid, but its settings are valid")

    def target_in_the_way(self) -> str:
        """Return which of both targets is set in the base while the other is swept, or ``""``."""
        base = {"rules.target_r": self.rules.target_r}
        if self.target_given:
            base["rules.target"] = self.rules.target
        fixed = [key for key, value in base.items() if key not in self.keys and value > 0]
        if len(fixed) != 1 or not {"rules.target", "rules.target_r"} & set(self.keys):
            return ""
        return f"{fixed[0]} = {base[fixed[0]]!r}"

    def to_mapping(self) -> dict[str, Any]:
        """Return everything that defines the space, ready for JSON and for a hash."""
        rules = self.rules.to_mapping()
        if not self.target_given:
            del rules["target"]
        return {
            "strategy": {"name": self.strategy.name, "params": self.strategy.to_mapping()},
            "rules": rules,
            "contract": self.contract.to_mapping(),
            "axes": [_axis_mapping(axis) for axis in self.axes],
            "where": self.where,
            "invalid": self.invalid,
        }

    # sections

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """Strategy, rules and contract, each split into what stays and what varies."""
        bases: tuple[Settings, ...] = (self.strategy, self.rules, self.contract)
        sections = []
        for base in bases:
            fixed = {spec.name: getattr(base, spec.name) for spec in base.parameters()}
            if base is self.rules and not self.target_given:
                fixed["target"] = DEFAULT_TARGET
            swept = [(self.axes[at].name, at) for at in self._positions(base.section)]
            for name, _ in swept:
                del fixed[name]
            sections.append(Section(base, fixed, tuple(swept)))
        return tuple(sections)

    def _positions(self, section: str) -> tuple[int, ...]:
        return tuple(at for at, axis in enumerate(self.axes) if axis.section == section)

    def _settings(self, section: Section, digits: Sequence[int]) -> Settings:
        if not section.swept:
            return section.base
        swept = {name: self.axes[at].values[digits[at]] for name, at in section.swept}
        return type(section.base)(**section.fixed, **swept)

    # what decides whether a combination is admitted

    @cached_property
    def conditions(self) -> tuple[Constraint, ...]:
        """Constraints from ``where``: one for each part that must hold on its own."""
        if not self.where:
            return ()
        parameters = grid_parameters(self.strategy)
        names = {key: name_kind(parameter) for key, parameter in parameters.items()}
        condition = parse_condition(self.where, names)
        columns = {key: self._column(key, parameters[key]) for key in condition.names}
        return tuple(_condition_constraint(part, columns) for part in condition.conjuncts)

    def _column(self, key: str, parameter: Parameter) -> tuple[int | None, NDArray[Any]]:
        """Return the values of a parameter and the axis that they lie along."""
        if key in self.keys:
            at = self.keys.index(key)
            return at, self.axes[at].column
        if key == "rules.target" and not self.target_given and "rules.target_r" in self.keys:
            at = self.keys.index("rules.target_r")
            return at, np.where(self.axes[at].column > 0, 0.0, DEFAULT_TARGET)
        section, _, name = key.partition(".")
        base = {"strategy": self.strategy, "rules": self.rules, "contract": self.contract}[section]
        return None, condition_column(parameter, [getattr(base, name)])

    @cached_property
    def rules_between(self) -> tuple[Constraint, ...]:
        """Constraints from the rules between the fields of each section, run row by row."""
        return tuple(self._row_constraint(section) for section in self.sections if section.swept)

    def _row_constraint(self, section: Section) -> Constraint:
        allows = RuleProbe(section)
        names = [name for name, _ in section.swept]
        positions = [at for _, at in section.swept]
        objects = [np.array(self.axes[at].values, dtype=np.object_) for at in positions]

        def holds(index: Index) -> NDArray[np.bool_]:
            values = [column[index[at]] for column, at in zip(objects, positions, strict=True)]
            allowed = np.frompyfunc(lambda *row: allows(names, row), len(names), 1)(*values)
            return np.asarray(allowed, dtype=np.bool_)

        return Constraint(frozenset(positions), holds)


def prepare_axes(
    strategy: Strategy,
    rules: ExitRules,
    grid: Mapping[str, object],
    where: str,
    invalid: str,
) -> tuple[tuple[Axis, ...], dict[str, Any]]:
    """Check the keys of a grid and return its axes and the other fields of a space."""
    if invalid not in INVALID:
        raise ConfigError(f"invalid = {invalid!r} is not allowed; give 'refuse' or 'skip'")
    if not isinstance(where, str):
        raise ConfigError(f"where = {where!r} is not allowed; give a condition as text")
    if not isinstance(grid, Mapping):
        raise ConfigError(f"grid = {grid!r} is not allowed; give a mapping of keys to values")
    parameters = grid_parameters(strategy)
    axes = []
    for key, value in grid.items():
        if key not in parameters:
            raise unknown_name("key of the grid", key, parameters)
        axes.append(build_axis(key, parameters[key], grid_spec(key, value)))
    swept = {axis.key: axis for axis in axes}
    given = "rules.target" in swept or rules.target is not DEFAULT_TARGET
    if "rules.target_r" in swept and "rules.target" not in swept:
        replaced = rules.target == 0 and rules.target_r > 0
        if replaced and 0.0 in swept["rules.target_r"].values:
            raise ConfigError(
                'the grid\'s "rules.target_r" holds 0.0, where the target is in force, but the '
                f"base has rules.target_r = {rules.target_r!r}, which may have turned it off; "
                'leave target_r out of the base, or put "rules.target" into the grid'
            )
    return tuple(axes), {"where": where, "invalid": invalid, "target_given": given}


def check_grid(
    strategy: Strategy,
    rules: ExitRules,
    contract: Contract,
    grid: Mapping[str, object],
    where: str,
    invalid: str,
) -> None:
    """Check the keys and values of a grid and the condition, as they stand in a file.

    Raises
    ------
    ConfigError
        If one is not allowed. Which combinations are is a matter of the sweep.
    """
    axes, options = prepare_axes(strategy, rules, grid, where, invalid)
    _ = ParameterSpace(strategy, rules, contract, axes, **options).conditions


def _axis_mapping(axis: Axis) -> dict[str, Any]:
    if axis.span is not None:
        return {"key": axis.key, "min": axis.span.min, "max": axis.span.max}
    return {"key": axis.key, "values": list(axis.values)}


def build_arguments(
    mapping: Mapping[str, Any], strategy: type[Strategy] | None = None
) -> dict[str, Any]:
    """Return the arguments that build the space again that ``to_mapping`` described.

    Raises
    ------
    ConfigError
        If it names a strategy that is not registered, or holds a value that is not allowed.
    """
    name, params = mapping["strategy"]["name"], mapping["strategy"]["params"]
    return {
        "strategy": get_strategy(name, params) if strategy is None else strategy(**params),
        "rules": ExitRules.from_mapping(mapping["rules"]),
        "contract": Contract.from_mapping(mapping["contract"]),
        "grid": {
            axis["key"]: axis["values"] if "values" in axis else GridSpan(axis["min"], axis["max"])
            for axis in mapping["axes"]
        },
        "where": mapping["where"],
        "invalid": mapping["invalid"],
    }


def _condition_constraint(
    condition: Condition, columns: Mapping[str, tuple[int | None, NDArray[Any]]]
) -> Constraint:
    used = {key: columns[key] for key in condition.names}

    def holds(index: Index) -> NDArray[np.bool_]:
        return condition.evaluate(
            {key: values[0 if at is None else index[at]] for key, (at, values) in used.items()}
        )

    def bounds(box: Sequence[range]) -> tuple[bool, bool]:
        return condition.bounds(
            {
                key: values if at is None else values[box[at].start : box[at].stop]
                for key, (at, values) in used.items()
            }
        )

    return Constraint(frozenset(at for at, _ in used.values() if at is not None), holds, bounds)


def meet_all(constraints: Sequence[Constraint], index: Index) -> NDArray[np.bool_]:
    """Return where combinations meet every constraint."""
    result = np.ones((), dtype=np.bool_)
    for constraint in constraints:
        result = np.logical_and(result, constraint.holds(index))
    return result
