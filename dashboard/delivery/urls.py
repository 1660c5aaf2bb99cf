from django.urls import path

from dashboard.delivery import views

app_name = "delivery"
urlpatterns = [
    path("", views.page, name="page"),
    path("new/", views.new, name="new"),
    path("<int:pk>/", views.edit, name="edit"),
    path("<int:pk>/test/", views.test, name="test"),
    path("<int:pk>/switch/", views.switch, name="switch"),
    path("<int:pk>/delete/", views.delete, name="delete"),
    path("log/", views.log, name="log"),
    path("log/<int:pk>/", views.one, name="one"),
    path("log/<int:pk>/retry/", views.retry, name="retry"),
]
