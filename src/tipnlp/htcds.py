"""Predictions in the codes of the Human Trafficking Case Data Standard (HTCDS) of the UN's migration agency.

Field names and codes are those of HTCDS 2.0 (repository UNMigration/HTCDS). A prediction never says
more than "possible": whether somebody was trafficked is decided by an authority, and that nobody was
cannot be read off a text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

POSSIBLE = "PossibleVictimOfTrafficking"

# Several codes in one field are joined by this, as the standard's multi-select fields export them.
JOIN = ";"

LABEL_CODES = {"forced_labour": "ForcedLabour", "sex_trafficking": "SexualExploitation"}

CONCEPT_CODES: Mapping[str, Mapping[str, str]] = {
    "vic_TypeOfExploitation": {"begging": "ForcedBegging"},
    "vic_TypeOfSexExploitation": {
        "prostitution": "Prostitution",
        "sexual_services_advertised": "Prostitution",
        "pornography_webcam": "Pornography",
    },
    "vic_ForcedLabourIndustry": {
        "field_work": "A_AgricultureForestryAndFishing",
        "factory_work": "C_Manufacturing",
        "building_work": "F_Construction",
        "transport_work": "H_TransportationAndStorage",
        "catering_work": "I_AccommodationAndFoodServiceActivities",
        "cleaning_work": "N_AdministrativeAndSupportServiceActivities",
        "care_work": "Q_HumanHealthAndSocialWorkActivities",
        "beauty_work": "S_OtherServiceActivities",
        "domestic_work": "T_ActivitiesOfHouseholdsAsEmployers",
    },
    "vic_MethodsOfControl": {
        "threat": "PhysicalThreats",
        "authority_threat": "ThreatsLawEnforcement",
        "family_pressure": "ThreatensChildrenFamily",
        "debt_bondage": "DebtBondage",
        "deceptive_offer": "FalsePromises",
        "deception_means": "FalsePromises",
        "love_pretence": "FalsePromises",
        "violence": "PhysicalAbuse",
        "physical_violence_at_work": "PhysicalAbuse",
        "sexual_assault": "SexualAbuse",
        "earnings_taken": "TakesEarnings",
        "wage_withholding": "RestrictsFinancialAccess",
        "drugging": "PsychoactiveSubstance",
        "oath_ritual": "PsychologicalAbuse",
        "excessive_hours": "ExcessiveWorkingHours",
        "document_retention": "WithholdsDocuments",
        "confinement": "Other",
        "surveillance": "Other",
        "isolation": "Other",
    },
}

# Which fields say anything about which label.
FIELDS = {
    "forced_labour": ("vic_TypeOfExploitation", "vic_ForcedLabourIndustry", "vic_MethodsOfControl"),
    "sex_trafficking": ("vic_TypeOfSexExploitation", "vic_MethodsOfControl"),
}


def convert_records(records: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    """Return the predictions that are decided as trafficking in HTCDS fields; the others have no code.

    With the evidence of `tipnlp predict --explain` the concepts found give the further codes.
    """
    for record in records:
        label = str(record.get("decision") or "")
        if label not in LABEL_CODES:
            continue
        row = {
            "id": str(record.get("id") or ""),
            "date": str(record.get("date") or ""),
            "vic_TraffickingStatus": POSSIBLE,
            "vic_TypeOfExploitation": LABEL_CODES[label],
            **{name: "" for name in CONCEPT_CODES if name != "vic_TypeOfExploitation"},
        }
        found = _list_concepts(record)
        for name in FIELDS[label]:
            codes = [row[name], *(code for concept, code in CONCEPT_CODES[name].items() if concept in found)]
            row[name] = JOIN.join(dict.fromkeys(code for code in codes if code))
        yield row


def _list_concepts(record: Mapping[str, Any]) -> set[str]:
    """Return the names of the concepts in the evidence of a prediction, negated ones left out."""
    evidence = record.get("evidence")
    groups = evidence.get("concepts", {}) if isinstance(evidence, Mapping) else {}
    return {entry["concept"] for entries in groups.values() for entry in entries if not entry["negated"]}
