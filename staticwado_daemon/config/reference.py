"""Settings of static-wado that staticwado doesn't have, and what to do instead.

A file shared with static-wado must load here, but nobody may believe that a setting works when it doesn't: each of
these is named in a warning. The few whose neglect would put files elsewhere than asked are errors.
"""

from staticwado_daemon.config.schema import BASE

_THUMBNAILS = "thumbnails are always made from the decoded frames"
_MULTIPART = "frames are always multipart"
_LAYOUT = "the tree's layout is fixed"
_NONE = "no such feature"
_STORED = "the daemon stores what is received: say {}"
_DEPLOY = "this version doesn't deploy"

UNUSED: dict[str, str | dict[str, str]] = {
    BASE: {
        "compress": "JSON is always gzipped",
        "configurationFile": "use -c FILE",
        "recompressThumb": _THUMBNAILS,
        "pathDeduplicated": _LAYOUT,
        "pathInstances": _LAYOUT,
        "studyQuery": "the web server answers from files, OHIF filters",
        "staticWadoAe": "say dicomWebScpConfig.aeTitle",
        "groupNames": _DEPLOY,
        "rootGroup": _DEPLOY,
        "instanceGroup": _DEPLOY,
        "clientGroup": _DEPLOY,
        "deployPlugin": _DEPLOY,
        "deployNotificationName": _DEPLOY,
        "deployments": _DEPLOY,
        "cloudfront": _DEPLOY,
        "authentication": _DEPLOY,
        "region": _DEPLOY,
        "s3Env": _DEPLOY,
        "notificationDir": "the daemon publishes by itself",
        "clientDir": "say dicomWebServerConfig.clientDir or daemonConfig.serve.ohif",
        "verbose": "use -v",
    },
    "mkdicomwebConfig": {
        "recompressThumb": _THUMBNAILS,
        "encapsulatedImage": _MULTIPART,
        "dcm2jpg": "say rendered",
        "pathDeduplicated": _LAYOUT,
        "pathInstances": _LAYOUT,
        "prependBulkDataUri": "BulkDataURI is always relative to the study",
        "expandBulkDataUri": "BulkDataURI is always relative to the study",
        "verbose": "use -v",
    },
    "dicomWebServerConfig": {
        "stowCommands": _NONE,
        "serverTimeoutMs": _NONE,
        "disableSummary": "summaries are always current",
        "corsOptions": "say allowOrigin; nobody may write",
        "sizeBulkdataTags": "say staticWadoConfig.maximumInlinePublicLength",
        "sizePrivateBulkdataTags": "say staticWadoConfig.maximumInlinePrivateLength",
        "hang": _NONE,
        "webserverPlugins": _NONE,
        "proxyAe": "this version has no DIMSE proxy",
        "queryAe": "this version has no DIMSE proxy",
        "callingAe": "this version has no DIMSE proxy",
        "createIndexOnDemand": "summaries are always current",
        "validateInstance": _NONE,
        "maxUnsettledReceives": _NONE,
        "maxUnsettledStreamWrites": _NONE,
        "backPressureTimeoutMs": _NONE,
        "backpressureWaitMs": _NONE,
        "backpressureMaxBytes": _NONE,
        "messaging": _NONE,
    },
    "dicomWebScpConfig": {
        "isInstance": _LAYOUT,
        "isGroup": _LAYOUT,
        "isDeduplicate": _LAYOUT,
        "isStudyData": _LAYOUT,
        "pathDeduplicated": _LAYOUT,
        "pathInstances": _LAYOUT,
        "contentType": _STORED.format("staticWadoConfig.contentType"),
        "recompress": _STORED.format("staticWadoConfig.recompress"),
        "maximumInlinePublicLength": _STORED.format("staticWadoConfig.maximumInlinePublicLength"),
        "maximumInlinePrivateLength": _STORED.format("staticWadoConfig.maximumInlinePrivateLength"),
        "scpPort": "say port",
        "ae": "say pull, or use `staticwado pull`",
        "clean": _NONE,
        "verbose": "use -v",
    },
    "deployConfig": _DEPLOY,
    "awsConfig": _DEPLOY,
    "curieStoreConfig": _DEPLOY,
    "deployments": _DEPLOY,
    "plugins": _NONE,
}

REFUSED: dict[str, str] = {
    "hashStudyUidPath": "staticwado doesn't write hashed study paths: remove it, the studies would stand elsewhere",
    "singlePartImage": "staticwado doesn't write bare codestreams, viewers want frames as multipart: remove it",
}
