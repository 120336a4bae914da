# SPDX-License-Identifier: LGPL-2.1-or-later
"""A filter in Glance's pipeline in place of keystonemiddleware: each request comes from a service that is an
administrator, whatever its token is. Glance takes rbd locations of no one else since version 31."""


def factory(_configuration, **_options):
    def admit(application):
        def serve(environ, start_response):
            environ.update(HTTP_X_IDENTITY_STATUS="Confirmed", HTTP_X_SERVICE_IDENTITY_STATUS="Confirmed",
                           HTTP_X_USER_ID="novasnap", HTTP_X_PROJECT_ID="novasnap", HTTP_X_TENANT_ID="novasnap",
                           HTTP_X_ROLES="admin,member,service", HTTP_X_SERVICE_ROLES="service")
            return application(environ, start_response)
        return serve
    return admit
